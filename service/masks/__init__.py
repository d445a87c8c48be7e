"""List the output formats."""

from __future__ import annotations

from collections.abc import Mapping

from model_zoo.segmentation import Wanted
from service.masks.color import encode_color
from service.masks.counts import CountsAnswer, encode_counts
from service.masks.cvat import CvatAnswer, encode_cvat
from service.masks.encoder import Encoder
from service.masks.geojson import GeoJsonAnswer, encode_geojson
from service.masks.hf import HfAnswer, encode_hf
from service.masks.labelstudio import LabelStudioAnswer, encode_labelstudio
from service.masks.npz import encode_npz
from service.masks.overlay import encode_overlay
from service.masks.png import encode_png
from service.masks.polygons import PolygonsAnswer, encode_polygons
from service.masks.rle import RleAnswer, encode_rle
from service.masks.roboflow import RoboflowAnswer, encode_roboflow

_JSON = "application/json"
_SUMS = Wanted(sums=True)

ENCODERS: Mapping[str, Encoder] = {
    "png": Encoder("image/png", encode_png),
    "rle": Encoder(_JSON, encode_rle, _SUMS, answer=RleAnswer),
    "color": Encoder("image/png", encode_color),
    "overlay": Encoder("image/jpeg", encode_overlay, needs_image=True),
    "polygons": Encoder(_JSON, encode_polygons, _SUMS, answer=PolygonsAnswer),
    "geojson": Encoder("application/geo+json", encode_geojson, _SUMS, answer=GeoJsonAnswer),
    "labelstudio": Encoder(_JSON, encode_labelstudio, _SUMS, answer=LabelStudioAnswer),
    "cvat": Encoder(_JSON, encode_cvat, answer=CvatAnswer),
    "hf": Encoder(_JSON, encode_hf, _SUMS, answer=HfAnswer),
    "roboflow": Encoder(_JSON, encode_roboflow, Wanted(confidence=True), answer=RoboflowAnswer),
    "counts": Encoder(_JSON, encode_counts, _SUMS, answer=CountsAnswer),
    "npz": Encoder("application/x-npz", encode_npz, Wanted(probabilities=True)),
}
"""The encoder of each format; the first is the default, and the first of its media type answers to ``Accept``."""
