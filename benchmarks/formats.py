"""Time every answer format on masks of several sizes, and print the tables of docs/performance.md.

Run: ``python benchmarks/formats.py VOC_FOLDER [--megapixels 1 4] [--noise 0.01]``. The masks are targets of VOC's val
list, as they are and enlarged without new classes; the shipped checkpoint sees their pictures, and says how sure it is.
What is timed is what a codec thread does with a segmentation (``service/pipeline.py``): label it and encode it. Times
are those of the thread on its core, so that other programs count for little. A round goes over all masks and gives of
each format the median of its masks; the formats take turns, in another order each round.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from model_zoo import checkpoint
from model_zoo.checkpoint import Checkpoint
from model_zoo.predict import predict
from model_zoo.preprocess import network_input
from model_zoo.segmentation import Segmentation, Wanted
from service.masks import ENCODERS
from service.settings import Settings
from service.views import View
from training.datasets.voc import voc_folder, voc_ids, voc_pairs

MODEL = Path(__file__).parents[1] / "model_zoo/checkpoints/deeplabv3plus-lite2-voc.safetensors"
VIEW = View()


@dataclass(frozen=True, slots=True)
class Sample:
    """Hold a picture and its segmentation."""

    image: Image.Image
    segmentation: Segmentation

    @property
    def megapixels(self) -> float:
        """Give the size of the mask."""
        return self.segmentation.mask.numel() / 1e6


@dataclass(frozen=True, slots=True)
class Cost:
    """Hold what a megapixel of a format costs: milliseconds in each round, and the size of the answer."""

    milliseconds: Sequence[float]
    kilobytes: float


def main() -> None:
    """Print what a megapixel of each format costs, and how many times as long as PNG it takes."""
    options = read_options()
    loaded = checkpoint.load(MODEL)
    columns = {}
    for megapixels in options.megapixels:
        samples = read_samples(options, loaded, megapixels)
        title = f"{megapixels or median(sample.megapixels for sample in samples):.2g} MP"
        columns[title] = measure(samples, loaded, options.rounds)
    print_table(
        "ms and kB a megapixel", columns, lambda cost, _: f"{spread(cost.milliseconds)}, {cost.kilobytes:.1f} kB"
    )
    print_table("time / `png`", columns, lambda cost, png: spread(np.divide(cost.milliseconds, png.milliseconds)))


def print_table(title: str, columns: Mapping[str, Mapping[str, Cost]], tell: Callable[[Cost, Cost], str]) -> None:
    """Print one line a format, of what is to be told of its cost and that of PNG."""
    print(f"| {title} | {' | '.join(columns)} |")
    print(f"|---|{'---|' * len(columns)}")
    for name in ENCODERS:
        cells = (tell(costs[name], costs["png"]) if name in costs else "refused" for costs in columns.values())
        print(f"| `{name}` | {' | '.join(cells)} |")
    print()


def read_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--masks", type=int, default=10)
    parser.add_argument("--megapixels", type=float, nargs="+", default=[0, 1, 4, 16], help="0: as they are")
    parser.add_argument("--noise", type=float, default=0.0, help="share of the pixels that get any class")
    parser.add_argument("--rounds", type=int, default=5)
    return parser.parse_args()


def read_samples(options: argparse.Namespace, loaded: Checkpoint, megapixels: float) -> list[Sample]:
    """Read masks spread evenly over the list, and have the network see their pictures."""
    folder = voc_folder(options.folder)
    pairs = voc_pairs(folder, voc_ids(folder, "val"))
    chosen = [pairs[number * len(pairs) // options.masks] for number in range(options.masks)]
    samples = []
    for pair in chosen:
        with Image.open(pair.image) as file, Image.open(pair.mask) as target:
            size = enlarged(file.size, megapixels)
            image = file.convert("RGB").resize(size)
            mask = np.array(target.resize(size, Image.Resampling.NEAREST))
        noisy = with_noise(mask, options.noise, loaded.header.spec.num_classes)
        samples.append(Sample(image, replace(segment(image, loaded), mask=torch.from_numpy(noisy))))
    return samples


def enlarged(size: tuple[int, int], megapixels: float) -> tuple[int, int]:
    """Give the ``(width, height)`` of about so many pixels; the same if 0 are wanted."""
    scale = (megapixels * 1e6 / (size[0] * size[1])) ** 0.5 if megapixels else 1
    return round(size[0] * scale), round(size[1] * scale)


def with_noise(mask: NDArray[np.uint8], share: float, num_classes: int) -> NDArray[np.uint8]:
    """Give a mask some of whose pixels have any class."""
    draw = np.random.default_rng(0)
    classes = draw.integers(0, num_classes, mask.shape, np.uint8)
    return np.where(draw.random(mask.shape, np.float32) < share, classes, mask)


def segment(image: Image.Image, loaded: Checkpoint) -> Segmentation:
    """Find all that encoders want, but no more probabilities than the service answers by default."""
    spec = loaded.header.spec
    are_few = spec.num_classes * image.width * image.height <= Settings().max_probability_values
    wanted = Wanted(sums=True, confidence=True, probabilities=are_few)
    return predict(loaded.network, [network_input(image, spec)], spec, wanted=[wanted])[0]


def measure(samples: Sequence[Sample], loaded: Checkpoint, num_rounds: int) -> Mapping[str, Cost]:
    """Give the cost of every format that can be answered; a first round is not counted."""
    names = [
        name
        for name, encoder in ENCODERS.items()
        if not (encoder.wanted.probabilities and samples[0].segmentation.probabilities is None)
    ]
    rounds: dict[str, list[float]] = {name: [] for name in names}
    sizes: dict[str, float] = {}
    for number in range(num_rounds + 1):
        order = names[number % len(names) :] + names[: number % len(names)]
        found: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
        for sample in samples:
            for name in order:
                found[name].append(encode(sample, loaded, name))
        for name in names if number else ():
            seconds, num_bytes = zip(*found[name], strict=True)
            rounds[name].append(1000 * median(seconds))
            sizes[name] = median(num_bytes)
    return {name: Cost(rounds[name], sizes[name] / 1000) for name in names}


def encode(sample: Sample, loaded: Checkpoint, name: str) -> tuple[float, float]:
    """Encode a mask as the pipeline does, and give seconds and bytes a megapixel."""
    started = time.thread_time()
    labelled = VIEW.label(sample.segmentation, loaded.header, image=sample.image)
    content = ENCODERS[name].encode(labelled)
    return (time.thread_time() - started) / sample.megapixels, len(content) / sample.megapixels


def spread(values: Sequence[float] | NDArray[np.float64]) -> str:
    """Give the median of the rounds, the lowest and the highest."""
    return f"{np.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


if __name__ == "__main__":
    main()
