"""Make the sets of pictures that are sent, as JPEGs: of real photos where they are, else of the examples'."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from benchmarks.serving.rows import ROOT

VOC = ROOT.parent / "shared/data/voc/VOCdevkit/VOC2012"
EXAMPLES = ROOT / "examples"
NUM_PHOTOS = 32
MEGAPIXELS = (0.1, 0.2, 1, 4, 12, 25, 50)
NUM_SIZED_PHOTOS = 4
GRAIN = 10.0
"""Deviation of an enlarged photo's noise, in 8-bit values: with it the JPEGs of 12 megapixels have 3 to 5 MB, as a
phone's have."""

_NATIVE_MEGAPIXELS = 0.2
"""Photos are not enlarged up to here."""

_MIX = {"256": 12, "voc": 16, "12mp": 4}


def make(name: str) -> Sequence[bytes]:
    """Give the JPEGs of a set; the same every time."""
    return SETS[name]()


def is_real() -> bool:
    """Tell whether the photos are those of VOC's val list."""
    return VOC.is_dir()


def photo_paths(count: int) -> Sequence[Path]:
    """Give photos spread evenly over VOC's val list; where it is missing the examples, over and over."""
    if not is_real():
        examples = sorted(EXAMPLES.glob("*.jpg"))
        return [examples[number % len(examples)] for number in range(count)]
    ids = (VOC / "ImageSets/Segmentation/val.txt").read_text().split()
    return [VOC / "JPEGImages" / f"{ids[number * len(ids) // count]}.jpg" for number in range(count)]


def photo_size(megapixels: float) -> tuple[int, int]:
    """Give width and height of a photo of 4:3 that has so many megapixels."""
    height = int((megapixels * 3e6 / 4) ** 0.5)
    return height * 4 // 3, height


def _voc() -> list[bytes]:
    """Give photos as they are: of about 500x375 pixels and 100 kB."""
    return [path.read_bytes() for path in photo_paths(NUM_PHOTOS)]


def _square(side: int) -> list[bytes]:
    """Give the middle of photos at a size."""
    return [_jpeg(ImageOps.fit(photo, (side, side)), quality=90) for photo in _photos(NUM_PHOTOS)]


def _sized(megapixels: float) -> list[bytes]:
    """Give photos of 4:3 at a size, enlarged ones with some grain, or they would be far too easy to decode."""
    draw = np.random.default_rng(0)
    photos = [ImageOps.fit(photo, photo_size(megapixels)) for photo in _photos(NUM_SIZED_PHOTOS)]
    is_enlarged = megapixels > _NATIVE_MEGAPIXELS
    return [_jpeg(_with_grain(photo, draw) if is_enlarged else photo, quality=87) for photo in photos]


def _mix() -> list[bytes]:
    """Give some of each, in an order that was drawn once."""
    mixed = [jpeg for name, count in _MIX.items() for jpeg in make(name)[:count]]
    random.Random(0).shuffle(mixed)  # noqa: S311  # no secret
    return mixed


def _photos(count: int) -> list[Image.Image]:
    photos = []
    for path in photo_paths(count):
        with Image.open(path) as photo:
            photos.append(photo.convert("RGB"))
    return photos


def _with_grain(photo: Image.Image, draw: np.random.Generator) -> Image.Image:
    grain = draw.standard_normal((photo.height, photo.width, 1), np.float32) * GRAIN
    return Image.fromarray((np.asarray(photo) + grain).clip(0, 255).astype(np.uint8))


def _jpeg(photo: Image.Image, *, quality: int) -> bytes:
    output = BytesIO()
    photo.save(output, "JPEG", quality=quality)
    return output.getvalue()


SETS: Mapping[str, Callable[[], list[bytes]]] = {
    "tiny": lambda: _square(16),
    "256": lambda: _square(256),
    "voc": _voc,
    **{f"{megapixels:g}mp": partial(_sized, megapixels) for megapixels in MEGAPIXELS},
    "mix": _mix,
}
"""``tiny`` is for the empty network: next to nothing to decode for those that decode it, and to encode."""
