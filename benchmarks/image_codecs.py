"""Time the libraries that read JPEGs and write PNGs, side by side, and print the tables of docs/performance.md.

Run from the repository's root: ``PYTHONPATH=runs/codecs python -m benchmarks.image_codecs``. Of the libraries that the
project does without those are measured that can be imported; install them apart from it:
``pip install --no-deps --target runs/codecs simplejpeg opencv-python-headless isal``. Torchvision's are not among them,
for they are deprecated since its version 0.29.

Pictures and masks are those of the serving benchmarks: photos of VOC's val list as JPEGs, and their targets, as they
are and enlarged without new classes; ``../shared/data/voc`` has to be there. Times are those of the thread on its core.
A round goes over all pictures and gives of each library the mean; the libraries take turns, in another order each
round, and ratios are taken within a round.
"""

from __future__ import annotations

import argparse
import importlib
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from importlib.metadata import version
from io import BytesIO
from statistics import fmean
from time import thread_time
from types import ModuleType
from typing import Any

import numpy as np
from PIL import Image, features
from zlib_ng import zlib_ng

from benchmarks.formats import enlarged, spread
from benchmarks.serving.images import make, photo_paths
from model_zoo.labels import VOC_CLASSES, voc_palette
from service.images import ImageLimits, decode_image
from service.masks.encoder import LabelledMask
from service.masks.png import encode_png, indexed_image

LIMITS = ImageLimits(max_pixels=1 << 26, max_side=1 << 14)
JPEG_SETS = ("256", "voc", "12mp")
MEGAPIXELS = (0.0, 1.0, 16.0)
NUM_PICTURES = 8
PALETTE = voc_palette()

Work = Callable[[Any], object]
"""Reads a JPEG's bytes, writes a mask, or packs the lines of one."""


def main(words: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="(%(default)s)")
    rounds = parser.parse_args(words).rounds
    jpegs = {name: make(name)[:NUM_PICTURES] for name in JPEG_SETS}
    masks = {f"{megapixels or 0.2:g} MP": list(read_masks(megapixels)) for megapixels in MEGAPIXELS}
    lines = {name: [lines_of(encode_png(mask)) for mask in some] for name, some in masks.items()}
    print_table("ms to read a JPEG", dict(decoders()), jpegs, rounds)
    print_table("ms to write a mask as PNG, and kB", dict(writers()), masks, rounds)
    print_table("ms to pack the lines of that PNG, and kB", dict(packers()), lines, rounds)
    with_ = ", ".join(f"{name} {features.version(name)}" for name in ("libjpeg_turbo", "zlib_ng"))
    own = f"zlib {zlib.ZLIB_RUNTIME_VERSION}, zlib-ng {zlib_ng.ZLIBNG_VERSION}"
    print(f"Pillow {version('pillow')} with {with_}; {own}")


def decoders() -> Iterator[tuple[str, Work]]:
    """Give what makes RGB of a JPEG."""
    yield "service", lambda jpeg: decode_image(jpeg, LIMITS)
    yield "Pillow", lambda jpeg: Image.open(BytesIO(jpeg)).convert("RGB")
    if (simplejpeg := _found("simplejpeg")) is not None:
        yield "simplejpeg", simplejpeg.decode_jpeg
        yield "simplejpeg, fast DCT", lambda jpeg: simplejpeg.decode_jpeg(jpeg, fastdct=True, fastupsample=True)
    if (opencv := _found("cv2")) is not None:
        opencv.setNumThreads(1)
        yield "OpenCV", lambda jpeg: opencv.imdecode(np.frombuffer(jpeg, np.uint8), opencv.IMREAD_COLOR_RGB)


def writers() -> Iterator[tuple[str, Work]]:
    """Give what makes a PNG of a mask; OpenCV writes it grey."""
    yield "service", encode_png
    yield "Pillow's defaults", _pillow
    yield "Pillow, run lengths", lambda mask: _pillow(mask, compress_level=1, compress_type=3)
    if (opencv := _found("cv2")) is not None:
        options = [opencv.IMWRITE_PNG_COMPRESSION, 1, opencv.IMWRITE_PNG_STRATEGY, opencv.IMWRITE_PNG_STRATEGY_RLE]
        yield "OpenCV, run lengths", lambda mask: opencv.imencode(".png", mask.mask, options)[1]


def packers() -> Iterator[tuple[str, Work]]:
    """Give what packs bytes by deflate."""
    for library, of in ((zlib_ng, "zlib-ng"), (zlib, "zlib")):
        for strategy, name in ((zlib.Z_RLE, "run lengths"), (zlib.Z_DEFAULT_STRATEGY, "default strategy")):
            yield f"{of}, level 1, {name}", partial(_packed, library=library, strategy=strategy)
    if (isal := _found("isal.isal_zlib")) is not None:
        yield "ISA-L, level 0", lambda data: isal.compress(data, 0)
        yield "ISA-L, level 1", lambda data: isal.compress(data, 1)


def read_masks(megapixels: float) -> Iterator[LabelledMask]:
    """Give the targets of photos, enlarged to so many megapixels, or as they are."""
    for path in photo_paths(NUM_PICTURES):
        with Image.open(path.parents[1] / f"SegmentationClass/{path.stem}.png") as target:
            mask = np.array(target.resize(enlarged(target.size, megapixels), Image.Resampling.NEAREST))
        yield LabelledMask(
            mask=mask, model="", version="", classes=VOC_CLASSES, palette=PALETTE, probability_sums=(0.0,) * 21
        )


def lines_of(png: bytes) -> bytes:
    """Give what is packed in a PNG that has one chunk of it."""
    start = png.index(b"IDAT")
    return zlib.decompress(png[start + 4 : start + 4 + int.from_bytes(png[start - 4 : start], "big")])


def print_table(title: str, works: Mapping[str, Work], columns: Mapping[str, Sequence[Any]], rounds: int) -> None:
    """Print a line for each library: its time, and in brackets that over the first's; and what it wrote, if bytes."""
    found = {name: measure(works, items, rounds) for name, items in columns.items()}
    first = next(iter(works))
    print(f"| {title} | {' | '.join(columns)} |\n|---|{'---|' * len(columns)}")
    for name in works:
        cells = []
        for times, sizes in found.values():
            ratio = "" if name == first else f"; {spread(np.divide(times[name], times[first]))}"
            size = f", {sizes[name] / 1000:.1f} kB" if name in sizes else ""
            cells.append(f"{np.median(times[name]):.2f}{size}{ratio}")
        print(f"| {name} | {' | '.join(cells)} |", flush=True)
    print()


def measure(
    works: Mapping[str, Work], items: Sequence[Any], rounds: int
) -> tuple[Mapping[str, Sequence[float]], Mapping[str, float]]:
    """Give the milliseconds an item in each round, the first one not counted, and the bytes that come of an item."""
    names = list(works)
    times: dict[str, list[float]] = {name: [] for name in names}
    sizes: dict[str, float] = {}
    for number in range(rounds + 1):
        for name in names[number % len(names) :] + names[: number % len(names)]:
            started = thread_time()
            results = [works[name](item) for item in items]
            milliseconds = 1000 * (thread_time() - started) / len(items)
            if number:
                times[name].append(milliseconds)
            if not isinstance(items[0], bytes) or isinstance(results[0], bytes):
                sizes[name] = fmean(len(result) for result in results)  # type: ignore[arg-type]
    return times, sizes


def _found(name: str) -> ModuleType | None:
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def _pillow(mask: LabelledMask, **options: int) -> bytes:
    output = BytesIO()
    indexed_image(mask.mask, mask.palette).save(output, "PNG", **options)
    return output.getvalue()


def _packed(data: bytes, *, library: Any, strategy: int) -> bytes:  # noqa: ANN401  # zlib, or what is like it
    packer = library.compressobj(level=1, strategy=strategy)
    return bytes(packer.compress(data) + packer.flush())


if __name__ == "__main__":
    main()
