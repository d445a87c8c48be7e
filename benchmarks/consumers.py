"""Have every answer format read by the program that it is made for, and print the table of docs/answers.md.

Run from the repository's root: ``python -m benchmarks.consumers VOC_FOLDER``. A server of its own serves the shipped
checkpoints. Each picture is asked for in PNG and in every other format; the mask that the other program reads is
compared with the PNG, pixel by pixel. The exit code is 1 if any result is below its bound.
"""

from __future__ import annotations

import argparse
import platform
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks import readers
from model_zoo.labels import voc_palette
from service.masks import ENCODERS
from service.masks.encoder import Mask
from tests.faults.server import free_port, serving
from training.datasets.voc import voc_folder, voc_ids, voc_pairs

OPACITY = 0.6
REAL = {"runtime": "torch", "torch_threads": "", "log_level": "warning"}

Array = NDArray[np.generic]
Score = Callable[[Array, Mask, Path], float]


@dataclass(frozen=True, slots=True)
class Measure:
    """Hold how what was read is compared with the PNG's mask of the picture, 1 if they agree, and the least allowed."""

    name: str
    score: Score
    bound: float


@dataclass(frozen=True, slots=True)
class Consumer:
    """Hold the format of an answer, the package that reads it, and how what it reads is measured."""

    name: str
    package: str
    read: Callable[[str, Path], Array]
    measure: Measure


def equal_pixels(found: Array, mask: Mask, _: Path) -> float:
    """Give the share of the pixels that are of the same class."""
    return float((found == mask).mean()) if found.shape == mask.shape else 0.0


def lowest_iou(found: Array, mask: Mask, _: Path) -> float:
    """Give the IoU of the class that has the lowest."""
    classes = np.union1d(found, mask)
    return min(
        float(((found == one) & (mask == one)).sum() / ((found == one) | (mask == one)).sum()) for one in classes
    )


def equal_counts(found: Array, mask: Mask, _: Path) -> float:
    """Give the share of the classes that have the same number of pixels."""
    return float((found == np.bincount(mask.ravel(), minlength=found.size)).mean())


def likeness(found: Array, mask: Mask, picture: Path) -> float:
    """Give 1 less the mean difference, of 255, from the picture with the colours of its classes over it."""
    with Image.open(picture) as image:
        expected = np.asarray(image.convert("RGB"), np.float32)
    is_thing = ((mask != 0) & (mask != readers.VOID))[..., None]
    colors = np.array(voc_palette(), np.float32)[mask]
    expected = np.where(is_thing, (1 - OPACITY) * expected + OPACITY * colors, expected)
    return float(1 - np.abs(found - expected).mean() / 255) if found.shape == expected.shape else 0.0


EQUAL = Measure("equal pixels", equal_pixels, 1.0)
AGAIN = Measure("equal pixels, asked twice", equal_pixels, 1.0)
OVERLAP = Measure("IoU of the worst class", lowest_iou, 0.99)

CONSUMERS = (
    Consumer("png", "Pillow", readers.read_png, AGAIN),
    Consumer("rle", "pycocotools", readers.read_rle, EQUAL),
    Consumer("color", "Pillow", readers.read_color, EQUAL),
    Consumer("overlay", "Pillow", readers.read_overlay, Measure("likeness to a plain blend", likeness, 0.98)),
    Consumer("polygons", "pycocotools", readers.read_polygons, OVERLAP),
    Consumer("geojson", "shapely", readers.read_geojson, OVERLAP),
    Consumer("labelstudio", "label-studio-sdk", readers.read_labelstudio, EQUAL),
    Consumer("cvat", "cvat-sdk", readers.read_cvat, EQUAL),
    Consumer("hf", "huggingface_hub", readers.read_hf, EQUAL),
    Consumer("roboflow", "Pillow", readers.read_roboflow, EQUAL),
    Consumer("counts", "NumPy", readers.read_counts, Measure("equal counts", equal_counts, 1.0)),
    Consumer("npz", "NumPy", readers.read_npz, EQUAL),
    Consumer("npz", "NumPy", readers.read_probabilities, Measure("equal pixels of the argmax", equal_pixels, 0.999)),
    Consumer("/v2", "tritonclient", readers.read_v2, EQUAL),
)


def main() -> None:
    """Print one line a consumer."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, default=10, help="spread evenly over the val list")
    options = parser.parse_args()
    assert {consumer.name for consumer in CONSUMERS} >= set(ENCODERS)
    pictures = choose_pictures(options.folder, options.images)
    print(f"Python {platform.python_version()}, torch {version('torch')}\n")
    print("| format | read by | images | worst of the images |")
    print("|---|---|---|---|")
    with (
        tempfile.TemporaryDirectory() as folder,
        serving(Path(folder) / "server.log", port=free_port(), **REAL) as server,
    ):
        masks = {picture: readers.read_png(server.url, picture) for picture in pictures}
        are_good = [try_consumer(consumer, server.url, masks) for consumer in CONSUMERS]
        if server.terminate() != 0:
            raise SystemExit(f"the server did not end well: {server.log_text()}")
    sys.exit(not all(are_good))


def choose_pictures(folder: Path, count: int) -> list[Path]:
    """Give pictures spread evenly over VOC's val list."""
    voc = voc_folder(folder)
    pairs = voc_pairs(voc, voc_ids(voc, "val"))
    return [pairs[number * len(pairs) // count].image for number in range(count)]


def try_consumer(consumer: Consumer, url: str, masks: Mapping[Path, Mask]) -> bool:
    """Have some pictures read, print a line and tell whether the result is good enough."""
    measure = consumer.measure
    worst = min(measure.score(consumer.read(url, picture), mask, picture) for picture, mask in masks.items())
    is_good = worst >= measure.bound
    package = f"{consumer.package} {version(consumer.package)}"
    verdict = "" if is_good else f", BELOW {measure.bound:g}"
    print(f"| `{consumer.name}` | {package} | {len(masks)} | {measure.name}: {worst:.6g}{verdict} |", flush=True)
    return is_good


if __name__ == "__main__":
    main()
