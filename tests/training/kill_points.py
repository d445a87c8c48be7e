"""Kill a run at every moment at which it touches a file, start it again, and print how it differs from a whole one.

``python -m tests.training.kill_points FOLDER EVERY`` takes every EVERY-th moment, and prints a line for each that is
``NUMBER WHAT`` and, where anything differs, what does. A process of its own: it forks, which threads do not survive.
"""

from __future__ import annotations

import csv
import os
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from tensorboard.backend.event_processing.event_accumulator import (  # type: ignore[import-untyped]  # no stubs
    EventAccumulator,
)

from model_zoo import checkpoint
from training import events, journal
from training.__main__ import main

COMMAND = [
    "fit", "--recipe", "quick", "--train", "shapes:train:8", "--train", "shapes:train:5", "--val", "shapes:val:2",
    "--train-weights", "1", "--train-weights", "2", "--crop", "32", "--workers", "0", "--batch-size", "5",
    "--accumulate", "2", "--ema-decay", "0.8", "--steps", "7", "--validate-every", "2", "--save-every", "2",
    "--argument", "base_channels=4", "--argument", "drop_rate=0.2",
]  # fmt: skip
WATCHED = (
    (os, "fsync"), (Path, "replace"), (Path, "unlink"), (Path, "mkdir"), (tempfile, "mkstemp"), (journal, "append_row"),
    (events.Events, "flush"), (events.Events, "__init__"),
)  # fmt: skip
TIMED = ("images_per_second", "waited", "seconds")


class Moments:
    """Count the moments of a run, and kill it at one of them."""

    def __init__(self, last: int | None) -> None:
        self.names: list[str] = []
        self._last = last

    def come(self, name: str) -> None:
        """Note that the run is here."""
        self.names.append(name)
        if len(self.names) == self._last:
            os.kill(os.getpid(), signal.SIGKILL)

    def watch(self, owner: object, name: str) -> None:
        """Make the moments before and after a function is called count."""
        call: Callable[..., object] = getattr(owner, name)

        def watched(*arguments: object, **named: object) -> object:
            self.come(f"before {name}")
            result = call(*arguments, **named)
            self.come(f"after {name}")
            return result

        setattr(owner, name, watched)


def run(out: Path, *, last: int | None = None) -> tuple[int, list[str]]:
    """Train in a process of its own, killed at a moment if one is given; give how it ended and the moments it had."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        moments = Moments(last)
        for owner, name in WATCHED:
            moments.watch(owner, name)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = main([*COMMAND, "--out", str(out)])
        os.write(writer, "\n".join(moments.names).encode())
        os._exit(code)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        names = pipe.read().decode().splitlines()
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), names


def found(out: Path) -> dict[str, object]:
    """Give all that a run has left, but what tells of time."""
    with (out / "metrics.csv").open() as file:
        rows = [{name: value for name, value in row.items() if name not in TIMED} for row in csv.DictReader(file)]
    headers = [checkpoint.load(out / f"checkpoint-{name}.safetensors").header for name in ("last", "best")]
    shown = EventAccumulator(str(out / "events"))
    shown.Reload()
    return {
        "metrics": rows,
        "weights": [header.sha256 for header in headers],
        "scores": [header.metrics for header in headers],
        "events": [event.step for event in shown.Scalars("train/loss")],
        "files": sorted(path.name for path in out.rglob("*") if not path.name.startswith(("events.out", "step-"))),
    }


def compare(folder: Path, every: int) -> None:
    """Do it all, and print what was found."""
    torch.set_num_threads(1)
    code, names = run(folder / "whole")
    assert code == 0
    whole = found(folder / "whole")
    for last in range(1, len(names) + 1, every):
        out = folder / str(last)
        ends = (run(out, last=last)[0], run(out)[0])
        differs = [] if ends == (-signal.SIGKILL, 0) else [f"ended with {ends}"]
        differs += [name for name, value in found(out).items() if value != whole[name]] if not differs else []
        print(last, names[last - 1], *differs, flush=True)


if __name__ == "__main__":
    compare(Path(sys.argv[1]), int(sys.argv[2]))
