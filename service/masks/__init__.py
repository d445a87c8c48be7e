"""List the output formats."""

from __future__ import annotations

from collections.abc import Mapping

from model_zoo.segmentation import Wanted
from service.masks.color import encode_color
from service.masks.counts import encode_counts
from service.masks.cvat import encode_cvat
from service.masks.encoder import Encoder
from service.masks.geojson import encode_geojson
from service.masks.hf import encode_hf
from service.masks.labelstudio import encode_labelstudio
from service.masks.npz import encode_npz
from service.masks.overlay import encode_overlay
from service.masks.png import encode_png
from service.masks.polygons import encode_polygons
from service.masks.rle import encode_rle
from service.masks.roboflow import encode_roboflow

_JSON = "application/json"
_SUMS = Wanted(sums=True)

ENCODERS: Mapping[str, Encoder] = {
    "png": Encoder("image/png", encode_png),
    "rle": Encoder(_JSON, encode_rle, _SUMS),
    "color": Encoder("image/png", encode_color),
    "overlay": Encoder("image/jpeg", encode_overlay, needs_image=True),
    "polygons": Encoder(_JSON, encode_polygons, _SUMS),
    "geojson": Encoder("application/geo+json", encode_geojson, _SUMS),
    "labelstudio": Encoder(_JSON, encode_labelstudio, _SUMS),
    "cvat": Encoder(_JSON, encode_cvat),
    "hf": Encoder(_JSON, encode_hf, _SUMS),
    "roboflow": Encoder(_JSON, encode_roboflow, Wanted(confidence=True)),
    "counts": Encoder(_JSON, encode_counts, _SUMS),
    "npz": Encoder("application/x-npz", encode_npz, Wanted(probabilities=True)),
}
"""The encoder of each format; the first is the default, and the first of its media type answers to ``Accept``."""
