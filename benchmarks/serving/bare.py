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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from model_zoo import checkpoint
from model_zoo.allocator import SERVED_BYTES, keep_freed_memory
from model_zoo.predict import network_batch
from model_zoo.preprocess import NetworkInput, network_input
from service.images import ImageLimits, decode_image
from service.runtimes import RUNTIMES
from service.runtimes.graph import GraphRuntime
from service.runtimes.runtime import Runtime
from service.runtimes.torch import TorchRuntime
from service.settings import AUTO, Settings
from service.tuning import PLAIN_RUNTIME

LIMITS = ImageLimits(max_pixels=1 << 26, max_side=1 << 14)


Pass = Callable[[], object]
"""Runs the network over a batch that is ready."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Say which network runs on which pictures, a folder of JPEGs, and for how long at each batch size.

    ``settings`` are the service's: the runtime and the precision among them count here, too. There is one device, which
    has all ``threads``.
    """

    network: str
    images: str
    settings: Mapping[str, str]
    threads: int
    batch_sizes: Sequence[int]
    seconds: float


def main(words: Sequence[str]) -> None:
    """Do what a plan's file says."""
    plan = Plan(**json.loads(Path(words[0]).read_text(encoding="utf-8")))
    keep_freed_memory(SERVED_BYTES)  # as the service does
    torch.set_num_threads(plan.threads)
    loaded = checkpoint.load(Path(plan.network))
    settings = Settings.read({}, {**plan.settings, "device": "cpu", "torch_threads": str(plan.threads)})
    name = PLAIN_RUNTIME if settings.runtime == AUTO else settings.runtime
    runtime = RUNTIMES[name](loaded, torch.device("cpu"), settings)
    jpegs = [path.read_bytes() for path in sorted(Path(plan.images).glob("*.jpg"))]
    items = [network_input(decode_image(jpeg, LIMITS), loaded.header.spec) for jpeg in jpegs]
    with torch.inference_mode():
        print(json.dumps({size: images_per_second(runtime, items, size, plan.seconds) for size in plan.batch_sizes}))


def images_per_second(runtime: Runtime, items: Sequence[NetworkInput], batch_size: int, seconds: float) -> float:
    """Give the rate at a batch size, over all shapes."""
    shapes = Counter(item.pixels.shape for item in items)
    total = 0.0
    for shape, count in shapes.items():
        fitting = next(item for item in items if item.pixels.shape == shape)
        run = bare_pass(runtime, [fitting] * batch_size)
        total += count * _seconds_a_pass(run, seconds * count / len(items)) / batch_size
    return len(items) / total


def bare_pass(runtime: Runtime, batch: Sequence[NetworkInput]) -> Pass:
    """Give the forward pass alone, with all done before that can be.

    Raises:
        TypeError: the runtime has none.
    """
    if isinstance(runtime, TorchRuntime):
        network, images = runtime.network, network_batch(runtime.network, batch, runtime.spec)
        return lambda: network(images)
    if isinstance(runtime, GraphRuntime):
        run, pixels = runtime.run, np.stack([item.pixels.numpy() for item in batch])
        return lambda: run(pixels)
    raise TypeError(f"{type(runtime).__name__} has no network")


def _seconds_a_pass(run: Pass, seconds: float) -> float:
    run()
    num_passes, started = 0, time.perf_counter()
    while (passed := time.perf_counter() - started) < seconds or num_passes == 0:
        run()
        num_passes += 1
    return passed / num_passes


if __name__ == "__main__":
    main(sys.argv[1:])
