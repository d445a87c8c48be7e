"""List the output formats."""

from __future__ import annotations

from collections.abc import Mapping

from service.masks.encoder import Encoder
from service.masks.png import encode_png
from service.masks.rle import encode_rle

ENCODERS: Mapping[str, Encoder] = {
    "png": Encoder("image/png", encode_png),
    "rle": Encoder("application/json", encode_rle, needs_probabilities=True),
}
"""The encoder of each format; the first is the default, and the first of its media type answers to ``Accept``."""
