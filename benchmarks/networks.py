"""Time the networks that ship beside the encoders that were tried, and print the table of the default's card.

Run: ``python -m benchmarks.networks``. One image of 512x512 pixels, float32, channels_last, on all cores that torch
takes; the networks take turns. MB are those of float16 weights; the scores are those of the checkpoints that ship, and
of the suite ``stage1`` of ``benchmarks/reproductions``, whose rows all learn for the same few steps.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import NamedTuple

import torch
from torch import nn

from benchmarks.reproductions.results import Results
from benchmarks.reproductions.suites import BASE, STAGE1, merge
from model_zoo import checkpoint
from model_zoo.architectures import build
from training.recipe import read_recipe

ROUNDS = 30
SIDE = 512
SHIPPED = Path(checkpoint.__file__).with_name("checkpoints")
TRIED = (BASE, "lite1", "lite0", "mobilenet-v2")
"""The rows of the suite that have another network."""


class Candidate(NamedTuple):
    """Name a network and what it scored, in full or in short training."""

    name: str
    network: nn.Module
    score: str


def main() -> None:
    """Print a line a network."""
    candidates = [*shipped(), *tried()]
    images = torch.rand(1, 3, SIDE, SIDE).contiguous(memory_format=torch.channels_last)
    times: list[list[float]] = [[] for _ in candidates]
    with torch.inference_mode():
        for _ in range(ROUNDS):
            for candidate, found in zip(candidates, times, strict=True):
                start = time.perf_counter()
                candidate.network(images)
                found.append(1000 * (time.perf_counter() - start))
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {ROUNDS} rounds\n")
    print("| network | MB | ms, median (min to max) | mIoU |")
    print("|---|---|---|---|")
    for (name, network, score), found in zip(candidates, times, strict=True):
        megabytes = 2 * sum(weight.numel() for weight in network.parameters()) / 1e6
        print(f"| {name} | {megabytes:.1f} | {median(found):.0f} ({min(found):.0f} to {max(found):.0f}) | {score} |")


def shipped() -> Iterator[Candidate]:
    """Give the checkpoints that ship, with the scores that they record."""
    for path in sorted(SHIPPED.glob("*.safetensors")):
        loaded = checkpoint.load(path)
        network = loaded.network.to(memory_format=torch.channels_last)
        score = next(metric.value for metric in loaded.header.metrics if metric.name == "mIoU")
        yield Candidate(f"`{path.stem}`", network, f"{score:.4f}")


def tried() -> Iterator[Candidate]:
    """Give DeepLabV3+ with each encoder that was tried, with what it scored after the suite's steps."""
    results = Results(STAGE1)
    for name in TRIED:
        recipe = read_recipe(str(STAGE1.base), merge(STAGE1.changes, STAGE1.row(name).changes))
        network = build(recipe.architecture, 21, recipe.arguments).eval().to(memory_format=torch.channels_last)
        found = [f"{miou:.4f}" for miou in results.mious(name).values()] or ["not run"]
        yield Candidate(
            f"DeepLabV3+, `{recipe.arguments['encoder']}`", network, f"{found[0]} after {recipe.steps} steps"
        )


if __name__ == "__main__":
    main()
