"""Time training: ``training.loop.fit`` beside a plain loop as in torchvision's ``references/segmentation/train.py``.

Run from the repository's root: ``python -m benchmarks.train`` (``--help`` names the options). Both sides train the same
network of ``model_zoo`` from random weights with SGD on crops of the same side, in batches of the same size, from the
same JPEG and PNG files, scaled and flipped by the same ranges and chances, with no jitter of colours. Pictures are made
where the data set is missing.

The plain loop does what the reference does by default: decodes every file each time, augments with Pillow, sends
normalised float32 from its workers, NCHW, float32 arithmetic, ``cross_entropy`` on logits, ``loss.item()`` every step.
The reference asks for 16 workers; here several small numbers are tried, and the fastest is what others are compared to.
Its network in channels_last and in lower precision, which the reference does not have on CPUs, tells how much these
alone give. ``segtrain`` runs ``fit`` itself, as its command does, and its rates are those of ``metrics.csv``: cache on,
but in one row.

Every row of every round is a process of its own, one after the other, under OMP_WAIT_POLICY=PASSIVE. The first pass
over the images is not counted, nor is what comes before it (reading the cache among it) or after (validation). The
files are in the page cache of the system for all. Prints images/s and the share of time that the network waits for
images, as median with minimum and maximum, and the ratio to the fastest plain loop, round by round.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import torch
import torchvision  # type: ignore[import-untyped]  # torchvision has no stubs
from torch.utils.data import DataLoader, RandomSampler

from benchmarks.pictures import lay_out
from benchmarks.plain_loop import LR, MOMENTUM, POWER, WEIGHT_DECAY, PlainSamples, plain_loop
from model_zoo.allocator import keep_freed_memory
from model_zoo.architectures import build
from model_zoo.labels import VOC_CLASSES
from training.environment import environment
from training.loop import fit
from training.processes import joined
from training.recipe import Recipe
from training.run_folder import METRICS

DATA = "voc:train:../shared/data/voc"


@dataclass(frozen=True, slots=True)
class Network:
    """Say what is trained, on crops of which side; ``base`` is the shorter side that scales are relative to."""

    arguments: Mapping[str, str]
    crop: int
    base: int


NETWORKS = {
    "deeplabv3plus": Network({"encoder": "efficientnet_lite0"}, crop=288, base=312),
    "lraspp": Network({}, crop=480, base=520),
}


@dataclass(frozen=True, slots=True)
class Row:
    """Say which loop runs, and how; ``precision`` is that of the arithmetic."""

    loop: str
    workers: int
    precision: str = "float32"
    channels_last: bool = False
    cache: bool = False

    @property
    def is_baseline(self) -> bool:
        """Say whether this is the reference as it is."""
        return self.loop == "plain" and self.precision == "float32" and not self.channels_last

    def __str__(self) -> str:
        """Name it in the table."""
        extras = [name for name in ("channels_last", "cache") if getattr(self, name)]
        return ", ".join([self.loop, f"{self.workers} workers", self.precision, *extras])


@dataclass(frozen=True, slots=True)
class Speed:
    """Hold images per second, and the share of time in which the network waited for images."""

    images: float
    waited: float


def main() -> None:
    """Run one row if that is asked for; else all of them in processes of their own, and print the table."""
    options = _options()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    rows = _rows(device)
    if options.row is not None:
        measure = time_fit if rows[options.row].loop == "segtrain" else time_plain_loop
        with redirect_stdout(sys.stderr):
            speed = measure(rows[options.row], options, device)
        print(json.dumps([speed.images, speed.waited]))
        return
    network = NETWORKS[options.architecture]
    versions = {**environment(), "torchvision": torchvision.__version__}
    print(", ".join(f"{key} {value}" for key, value in versions.items()))
    with tempfile.TemporaryDirectory() as folder:
        told = lay_out(Path(folder), options.data, options.images)
        print(
            f"{options.architecture}, crop {network.crop}, batch {options.batch_size}, {options.images} images: {told}"
        )
        print(f"{options.passes} passes over them timed, after one that is not; {options.rounds} rounds")
        found = [
            [_in_own_process(number, Path(folder)) for number in range(len(rows))] for _ in range(options.rounds)
        ]  # [rounds][rows]
    print_table(rows, found)


def print_table(rows: Sequence[Row], found: Sequence[Sequence[Speed]]) -> None:
    """Print one line a row; ``found`` holds the speeds of the rows, round by round."""
    columns = list(zip(*found, strict=True))
    baselines = [number for number, row in enumerate(rows) if row.is_baseline]
    best = max(baselines, key=lambda number: median(speed.images for speed in columns[number]))
    print(f"{'':>44}  {'images/s':>21}  {'waited':>6}  ratio to {rows[best]}")
    for row, speeds in zip(rows, columns, strict=True):
        ratios = [speed.images / plain.images for speed, plain in zip(speeds, columns[best], strict=True)]
        waited = median(speed.waited for speed in speeds)
        print(f"{row!s:>44}  {_spread([s.images for s in speeds]):>21}  {waited:>6.1%}  {_spread(ratios)}")


def time_fit(row: Row, options: argparse.Namespace, device: str) -> Speed:
    """Let ``fit`` train for a pass and the passes to time, and read its speed in them."""
    network = NETWORKS[options.architecture]
    recipe = Recipe.model_validate({
        "name": "benchmark",
        "train": (f"voc:train:{options.folder}",),
        "val": f"voc:val:{options.folder}",
        "architecture": options.architecture,
        "arguments": network.arguments,
        "size": {"policy": "shortest", "side": network.base},
        "crop": network.crop,
        "jitter": 0.0,
        "optimizer": "sgd",
        "lr": LR,
        "momentum": MOMENTUM,
        "weight_decay": WEIGHT_DECAY,
        "decay": "all",
        "power": POWER,
        "epochs": 1 + options.passes,
        "batch_size": options.batch_size,
        "precision": row.precision,
        "device": device,
        "workers": row.workers,
        "cache": row.cache,
        "check": False,
        "validate_every": 1 + options.passes,
        "save_every": 10**9,
        "report": False,
    })  # fmt: skip
    keep_freed_memory()  # as segtrain fit does
    with tempfile.TemporaryDirectory() as out, joined(recipe.device) as processes:
        fit(recipe, Path(out), processes=processes)
        with (Path(out) / METRICS).open(encoding="utf-8") as file:
            epochs = list(csv.DictReader(file))[1:]
    rates, waits = ([float(epoch[name]) for epoch in epochs] for name in ("images_per_second", "waited"))
    seconds = [1 / rate for rate in rates]
    waited = sum(wait * second for wait, second in zip(waits, seconds, strict=True)) / sum(seconds)
    return Speed(len(seconds) / sum(seconds), waited)


def time_plain_loop(row: Row, options: argparse.Namespace, device: str) -> Speed:
    """Train as the reference does for as many steps, in one go, so that its workers start once."""
    torch.backends.cudnn.benchmark = device == "cuda"
    shape = NETWORKS[options.architecture]
    network = build(options.architecture, len(VOC_CLASSES), shape.arguments).to(device)
    if row.channels_last:
        network.to(memory_format=torch.channels_last)
    steps_a_pass = options.images // options.batch_size
    num_steps = (1 + options.passes) * steps_a_pass
    samples = PlainSamples(options.folder, base=shape.base, crop=shape.crop)
    loader = DataLoader(
        samples,
        batch_size=options.batch_size,
        sampler=RandomSampler(samples, num_samples=num_steps * options.batch_size),
        num_workers=row.workers,
        drop_last=True,
    )
    half = None if row.precision == "float32" else getattr(torch, row.precision)
    ends, waited = plain_loop(network, loader, device=device, half=half, channels_last=row.channels_last)
    spent = ends[-1] - ends[steps_a_pass - 1]
    num_images = (num_steps - steps_a_pass) * options.batch_size
    return Speed(num_images / spent, sum(waited[steps_a_pass:]) / spent)


def _rows(device: str) -> list[Row]:
    cpus = os.cpu_count() or 1
    tried = sorted({0, 1, 2} if device == "cpu" else {max(1, cpus // 4), max(1, cpus // 2), cpus})
    half = "bfloat16" if device == "cpu" else "float16"  # float16 is what the reference's --amp asks for
    ahead = 1 if device == "cpu" else tried[-1]
    return [
        *(Row("plain", workers) for workers in tried),
        Row("plain", ahead, channels_last=True),
        Row("plain", ahead, half),
        Row("plain", ahead, half, channels_last=True),
        Row("segtrain", ahead, cache=True),
        Row("segtrain", ahead, "bfloat16", cache=True),
        Row("segtrain", ahead, "bfloat16"),
    ]


def _in_own_process(number: int, folder: Path) -> Speed:
    command = [sys.executable, "-m", "benchmarks.train", *sys.argv[1:], "--row", str(number), "--folder", str(folder)]
    done = subprocess.run(command, env={**os.environ, "OMP_WAIT_POLICY": "PASSIVE"}, capture_output=True, text=True)  # noqa: S603, PLW1510  # ourselves
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stderr}")
    return Speed(*json.loads(done.stdout))


def _spread(values: Sequence[float]) -> str:
    return f"{median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", default=DATA, help=f"images in VOC's layout, {DATA} by default")
    parser.add_argument("--architecture", choices=NETWORKS, default="deeplabv3plus")
    parser.add_argument("--images", type=int, default=80, help="how many of them")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--passes", type=int, default=2, help="passes over the images that are timed")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--row", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.images % options.batch_size:
        parser.error(f"--images {options.images} is no multiple of --batch-size {options.batch_size}")
    return options


if __name__ == "__main__":
    main()
