"""Serve mixed traffic for minutes and say whether memory stays flat.

Run from the repository's root: ``python benchmarks/soak.py --minutes 10 --plot``. Four clients send pictures of several
sizes for PNG and run-length answers to the shipped checkpoint; some send broken files, some hang up. Each second a line
with the server's memory, open files, threads and latencies is added to the CSV, so a run that is cut short can be told
of, and drawn, with ``--read``. Slopes are least-squares fits over the last 80 % of the time.
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import os
import platform
import random
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from math import ceil, floor, log10
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from tests.faults.clients import ask, connected, request
from tests.faults.server import Server, free_port, serving
from tests.service.fakes import encode, noisy_image

CSV_FILE = Path("runs/soak.csv")
PLOT_FILE = Path(__file__).parents[1] / "docs/images/soak.png"
MOST_MINUTES = 120.0
NUM_CLIENTS = 4
SIZES = ((320, 240), (500, 375), (375, 500), (1280, 960))
FITTED_SHARE = 0.8
WIDTH, PANEL_HEIGHT, MARGIN = 1000, 300, 70


@dataclass(frozen=True, slots=True)
class Sample:
    """Hold what was seen in one second; latencies are of the good requests that ended in it, zero if none did."""

    seconds: float
    resident_mib: float
    files: int
    threads: int
    answered: int
    unexpected: int
    median_ms: float
    slowest_ms: float


class Tally:
    """Gather what the clients meet between two samples."""

    def __init__(self) -> None:
        self.latencies: list[float] = []
        self.unexpected = 0

    def empty(self) -> tuple[list[float], int]:
        """Give what was gathered, and begin anew."""
        found = self.latencies, self.unexpected
        self.latencies, self.unexpected = [], 0
        return found


def main() -> None:
    """Run or read, print the findings, and draw them if told to."""
    options = _options()
    samples = _read(options.csv) if options.read else _run(options)
    print(describe_machine())
    for line in findings(samples):
        print(line)
    if options.plot:
        draw(samples).save(PLOT_FILE, optimize=True)


def findings(samples: Sequence[Sample]) -> Iterator[str]:
    """Say in words what the samples show."""
    latencies = [sample.median_ms for sample in samples if sample.answered]
    yield f"{samples[-1].seconds / 60:.1f} minutes, {sum(sample.answered for sample in samples)} good requests answered"
    yield f"{sum(sample.unexpected for sample in samples)} unexpected answers"
    for name, column in (("memory in MiB", "resident_mib"), ("open files", "files"), ("threads", "threads")):
        last = getattr(samples[-1], column)
        yield f"{name}: {last:.0f} at last, {slope_per_hour(samples, column):+.1f} an hour"
    yield f"latency: median {np.median(latencies):.0f} ms, slowest {max(s.slowest_ms for s in samples):.0f} ms"


def slope_per_hour(samples: Sequence[Sample], column: str) -> float:
    """Fit a line to the last part of a column."""
    fitted = samples[int(len(samples) * (1 - FITTED_SHARE)) :]
    hours = [sample.seconds / 3600 for sample in fitted]
    return float(np.polyfit(hours, [getattr(sample, column) for sample in fitted], 1)[0])


def describe_machine() -> str:
    """Name what the figures depend on."""
    versions = (
        f"Python {platform.python_version()}, torch {torch.__version__}, {platform.system()} {platform.machine()}"
    )
    return f"python {' '.join(sys.argv)}\n{versions}, {len(os.sched_getaffinity(0))} CPUs"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0, help=f"at most {MOST_MINUTES:g}")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--csv", type=Path, default=CSV_FILE)
    parser.add_argument("--read", action="store_true", help="run nothing, tell of the CSV that is there")
    parser.add_argument("--plot", action="store_true", help=f"draw into {PLOT_FILE.relative_to(PLOT_FILE.parents[2])}")
    options = parser.parse_args()
    if not 0 < options.minutes <= MOST_MINUTES:
        parser.error(f"--minutes must be above 0 and at most {MOST_MINUTES:g}")
    return options


def _run(options: argparse.Namespace) -> list[Sample]:
    options.csv.parent.mkdir(parents=True, exist_ok=True)
    log = options.csv.with_suffix(".log")
    settings = {"runtime": "torch", "device": options.device, "torch_threads": "", "log_level": "warning"}
    with serving(log, port=free_port(), **settings) as server:
        with suppress(KeyboardInterrupt):
            asyncio.run(_soak(server, options.csv, seconds=60 * options.minutes))
        if server.terminate() != 0:
            raise SystemExit(f"the server did not end well; {log} says why")
    return _read(options.csv)


async def _soak(server: Server, path: Path, *, seconds: float) -> None:
    tally, pictures = Tally(), [encode(noisy_image(size), "JPEG") for size in SIZES]
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Sample)])
        writer.writeheader()
        async with asyncio.TaskGroup() as group:
            clients = [group.create_task(_send(server.url, pictures, tally, seed)) for seed in range(NUM_CLIENTS)]
            started = time.monotonic()
            while (now := time.monotonic()) < started + seconds:
                await asyncio.sleep(1 - (now - started) % 1)
                writer.writerow(asdict(_sample(server, tally, time.monotonic() - started)))
                file.flush()
            for client in clients:
                client.cancel()


def _sample(server: Server, tally: Tally, seconds: float) -> Sample:
    latencies, unexpected = tally.empty()
    return Sample(
        seconds=round(seconds, 2),
        resident_mib=round(server.resident_bytes() / (1 << 20), 2),
        files=server.num_files(),
        threads=server.num_threads(),
        answered=len(latencies),
        unexpected=unexpected,
        median_ms=round(1000 * float(np.median(latencies)), 1) if latencies else 0.0,
        slowest_ms=round(1000 * max(latencies, default=0.0), 1),
    )


async def _send(url: str, pictures: Sequence[bytes], tally: Tally, seed: int) -> None:
    """Send this and that, one after the other, until cancelled."""
    choices = random.Random(seed)  # noqa: S311  # no secret
    while True:
        picture, path = choices.choice(pictures), choices.choice(("/segment", "/segment?format=rle"))
        kind = choices.random()
        try:
            if kind < 0.1:
                await _hang_up(url, picture, after=choices.uniform(0, 0.2))
            elif kind < 0.2:
                answer = await ask(url, picture[: choices.randrange(len(picture) // 2)], Content_Type="image/jpeg")
                tally.unexpected += answer.status != 422
            else:
                answer = await ask(url, picture, path=path, Content_Type="image/jpeg")
                tally.unexpected += answer.status != 200
                tally.latencies.append(answer.seconds)
        except (OSError, TimeoutError):
            tally.unexpected += 1


async def _hang_up(url: str, picture: bytes, *, after: float) -> None:
    async with connected(url) as (_, writer):
        writer.write(request(picture, Content_Type="image/jpeg"))
        await asyncio.sleep(after)


def _read(path: Path) -> list[Sample]:
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    kinds: dict[str, Callable[[str], float]] = {
        field.name: int if field.type == "int" else float for field in fields(Sample)
    }
    return [Sample(**{name: kinds[name](value) for name, value in row.items()}) for row in rows]  # type: ignore[arg-type]  # by kinds


def draw(samples: Sequence[Sample]) -> Image.Image:
    """Draw memory and latency over time, one panel below the other."""
    image = Image.new("RGB", (WIDTH, 2 * PANEL_HEIGHT), "white")
    slope = slope_per_hour(samples, "resident_mib")
    memory = [(sample.seconds / 60, sample.resident_mib) for sample in samples]
    latency = [(sample.seconds / 60, sample.median_ms) for sample in samples if sample.answered]
    _draw_panel(ImageDraw.Draw(image), 0, f"memory of the server, MiB ({slope:+.1f} MiB an hour)", memory)
    _draw_panel(ImageDraw.Draw(image), PANEL_HEIGHT, "median latency in each second, ms", latency)
    return image


def _draw_panel(draw: ImageDraw.ImageDraw, top: int, title: str, points: Sequence[tuple[float, float]]) -> None:
    font = ImageFont.load_default(16)
    left, right, upper, lower = MARGIN, WIDTH - 20, top + 40, top + PANEL_HEIGHT - 50
    ticks_x, ticks_y = (_ticks(max(axis)) for axis in zip(*points, strict=True))

    def place(x: float, y: float) -> tuple[float, float]:
        return left + (right - left) * x / ticks_x[-1], lower - (lower - upper) * y / ticks_y[-1]

    draw.text((left, top + 10), title, "black", font)
    draw.text(((left + right) / 2, lower + 28), "minutes", "black", font, anchor="mt")
    for tick in ticks_y:
        draw.line((place(0, tick), place(ticks_x[-1], tick)), "lightgrey")
        draw.text((left - 8, place(0, tick)[1]), f"{tick:g}", "black", font, anchor="rm")
    for tick in ticks_x:
        draw.text((place(tick, 0)[0], lower + 8), f"{tick:g}", "black", font, anchor="mt")
    draw.line((left, upper, left, lower, right, lower), "black", 2)
    draw.line([place(*point) for point in points], "navy", 2)


def _ticks(most: float) -> list[float]:
    """Give round numbers from zero to the first that is not below ``most``."""
    power = 10 ** floor(log10(most))
    step = next(size * power for size in (0.2, 0.5, 1, 2) if size * power * 6 >= most)
    return [round(step * index, 6) for index in range(ceil(most / step) + 1)]


if __name__ == "__main__":
    main()
