"""Keep what was measured, and what it depends on, in one JSON file; compare servers within a round."""

from __future__ import annotations

import ast
import json
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from benchmarks.serving.rows import ROOT, SETTINGS, version_command
from model_zoo.machine import cpu_name

FOLDER = Path(__file__).parents[1] / "results"
"""Where the files are that ``docs/performance.md`` is made of."""


class Results:
    """Hold the visits of a run, one for each server and round that did not fail, and what was said about the run."""

    def __init__(self, about: Mapping[str, Any], visits: Sequence[Mapping[str, Any]] = ()) -> None:
        self.about = about
        self.visits = list(visits)

    @classmethod
    def read(cls, path: Path) -> Results:
        """Read a file."""
        content = json.loads(path.read_text(encoding="utf-8"))
        return cls(content["about"], content["visits"])

    def write(self, path: Path) -> None:
        """Write a file; a visit has a line, so that differences can be read."""
        visits = ",\n".join(json.dumps(visit) for visit in self.visits)
        path.write_text(
            f'{{"about": {json.dumps(self.about, indent=1)},\n"visits": [\n{visits}\n]}}\n', encoding="utf-8"
        )

    @property
    def rows(self) -> list[str]:
        """Name the servers, in the order of their first visits."""
        return list(dict.fromkeys(visit["row"] for visit in self.visits))

    @property
    def loads(self) -> list[str]:
        """Name the loads, in the order in which they were."""
        visits = (visit for visit in self.visits if visit["round"])
        return list(dict.fromkeys(name for visit in visits for name in visit["loads"]))

    def of(self, row: str) -> list[Mapping[str, Any]]:
        """Give the visits to a server, by round; the trial, round 0, is not one of them."""
        visits = (visit for visit in self.visits if visit["row"] == row and visit["round"])
        return sorted(visits, key=lambda visit: visit["round"])

    def agreement(self, row: str) -> float | None:
        """Give the share of pixels in which a server's masks are as they should be, if they were compared."""
        shares = (visit["agreement"] for visit in self.visits if visit["row"] == row)
        return next((share for share in shares if share is not None), None)

    def values(self, row: str, load: str, key: str) -> dict[int, float]:
        """Give by round what was found under a load; rounds that could not tell are missing."""
        found = {visit["round"]: visit["loads"].get(load, {}).get(key) for visit in self.of(row)}
        return {number: value for number, value in found.items() if value is not None}

    def ratios(self, row: str, other: str, load: str, key: str) -> list[float]:
        """Give how many times that of the other a server's value is, in each round that has both."""
        own, others = self.values(row, load, key), self.values(other, load, key)
        return [own[number] / others[number] for number in sorted(own.keys() & others.keys()) if others[number]]

    def slowest_trial(self) -> float | None:
        """Give the images a second of the slowest server in the trial; None without one."""
        trials = [visit["loads"].values() for visit in self.visits if visit["round"] == 0]
        return min((found["images_per_second"] for loads in trials for found in loads), default=None)


def describe_run(
    words: Sequence[str], rows: Sequence[str], options: Mapping[str, Any], *, module: str
) -> dict[str, Any]:
    """Say what figures depend on: the command, the code, the machine, and what every server is."""
    return {
        "command": " ".join([f"python -m {module}", *map(_without_folder, words)]),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _git("rev-parse", "--short=10", "HEAD"),
        "is_changed": bool(_git("status", "--porcelain", "--untracked-files=no")),
        "machine": describe_machine(),
        "options": dict(options),
        "servers": {row: {**_versions(row), "settings": dict(SETTINGS.get(row, {}))} for row in rows},
    }


def describe_machine() -> dict[str, str]:
    """Name processor, system and versions."""
    return {
        "cpu": cpu_name(),
        "cores": str(len(os.sched_getaffinity(0))),
        "memory": f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 2**30:.0f} GiB",
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "bfloat16": "amx" if "amx_bf16" in _flags() else "avx512" if "avx512_bf16" in _flags() else "none",
    }


def _versions(row: str) -> dict[str, str]:
    done = subprocess.run(version_command(row), capture_output=True, text=True, check=False)  # noqa: S603  # our own
    if done.returncode:
        return {"unknown": done.stderr.strip().rpartition("\n")[2]}
    found: dict[str, str] = ast.literal_eval(done.stdout)
    return found


def _git(*words: str) -> str:
    done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S603, S607
    return done.stdout.strip()


def _flags() -> Sequence[str]:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    return next((line.partition(":")[2].split() for line in lines if line.startswith("flags")), ())


def _without_folder(word: str) -> str:
    """Give an option's value as it is, but of a path of this machine the last part."""
    return Path(word).name if word.startswith("/") else word
