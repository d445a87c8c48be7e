"""Run a network over and over without anything around it: what no server can be faster than.

Run: ``python -m benchmarks.serving.bare PLAN.json``; images a second by batch size are printed as JSON. The inputs are
those that the pictures become, normalised and in channels_last before the clock starts; where they have several shapes,
each counts as often as it occurs.
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from model_zoo import checkpoint
from model_zoo.predict import network_batch
from model_zoo.preprocess import NetworkInput, network_input
from model_zoo.spec import ModelSpec
from service.images import ImageLimits, decode_image
from service.precision import DTYPES
from service.runtimes.lowering import lowered
from service.settings import PrecisionName

LIMITS = ImageLimits(max_pixels=1 << 26, max_side=1 << 14)


@dataclass(frozen=True, slots=True)
class Plan:
    """Say which network runs on which pictures, a folder of JPEGs, and for how long at each batch size."""

    network: str
    images: str
    precision: PrecisionName
    threads: int
    batch_sizes: Sequence[int]
    seconds: float


def main(words: Sequence[str]) -> None:
    """Do what a plan's file says."""
    plan = Plan(**json.loads(Path(words[0]).read_text(encoding="utf-8")))
    torch.set_num_threads(plan.threads)
    loaded = checkpoint.load(Path(plan.network))
    network, spec = loaded.network.to(memory_format=torch.channels_last), loaded.header.spec
    if plan.precision != "float32":
        network = lowered(network, DTYPES[plan.precision])
    jpegs = [path.read_bytes() for path in sorted(Path(plan.images).glob("*.jpg"))]
    items = [network_input(decode_image(jpeg, LIMITS), spec) for jpeg in jpegs]
    print(json.dumps({size: images_per_second(network, items, spec, size, plan.seconds) for size in plan.batch_sizes}))


def images_per_second(
    network: nn.Module, items: Sequence[NetworkInput], spec: ModelSpec, batch_size: int, seconds: float
) -> float:
    """Give the rate at a batch size, over all shapes."""
    shapes = Counter(item.pixels.shape for item in items)
    total = 0.0
    for shape, count in shapes.items():
        fitting = next(item for item in items if item.pixels.shape == shape)
        total += count * _seconds_an_image(network, [fitting] * batch_size, spec, seconds * count / len(items))
    return len(items) / total


@torch.inference_mode()
def _seconds_an_image(network: nn.Module, batch: Sequence[NetworkInput], spec: ModelSpec, seconds: float) -> float:
    images = network_batch(network, batch, spec)
    network(images)
    num_batches, started = 0, time.perf_counter()
    while (passed := time.perf_counter() - started) < seconds or num_batches == 0:
        network(images)
        num_batches += 1
    return passed / (num_batches * len(batch))


if __name__ == "__main__":
    main(sys.argv[1:])
