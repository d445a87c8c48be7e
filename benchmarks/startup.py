"""Time how long the service takes from its command to being ready, and what memory it and each model then hold.

Run from the repository's root: ``python benchmarks/startup.py``. Rows are: Python that imports torch, and nothing else;
the service without a network; the service with one of the checkpoints that ship, and with all of them. Every row of
every round is a process of its own, one after the other; memory is the PSS of all its processes, before any request.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median

from benchmarks.peers import Peer, Task
from benchmarks.serving.processes import proportional_bytes
from benchmarks.serving.rows import REFERENCE, ROWS
from benchmarks.serving.servers import serving
from service.settings import SHIPPED_CHECKPOINTS, SHIPPED_DEFAULT

IMPORT = "import torch"
DEFAULT = SHIPPED_CHECKPOINTS / f"{SHIPPED_DEFAULT}.safetensors"
ROWS_OF_SETTINGS: Mapping[str, Mapping[str, str]] = {
    "no network": {"SEGSERVE_RUNTIME": "null", "SEGSERVE_CHECKPOINTS": str(DEFAULT)},
    "the default checkpoint": {"SEGSERVE_CHECKPOINTS": str(DEFAULT)},
    "the default checkpoint, OpenVINO": {"SEGSERVE_RUNTIME": "openvino", "SEGSERVE_CHECKPOINTS": str(DEFAULT)},
    "all that ship": {"SEGSERVE_CHECKPOINTS": str(SHIPPED_CHECKPOINTS)},
    "all that ship, OpenVINO": {"SEGSERVE_RUNTIME": "openvino", "SEGSERVE_CHECKPOINTS": str(SHIPPED_CHECKPOINTS)},
}
Found = tuple[float, int]
"""Seconds until it was ready, and the bytes that it held then."""


def main(words: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="(%(default)s)")
    parser.add_argument("--port", type=int, default=17_490, help="(%(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="keep what was found")
    options = parser.parse_args(words)
    found: dict[str, list[Found]] = {IMPORT: [], **{name: [] for name in ROWS_OF_SETTINGS}}
    for _ in range(options.rounds):
        found[IMPORT].append((import_seconds(), 0))
        for name, settings in ROWS_OF_SETTINGS.items():
            found[name].append(start(settings, options.port))
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print("| | ready after s | beyond the import of torch | MB |\n|---|---|---|---|")
    for name, values in found.items():
        beyond = [seconds - found[IMPORT][index][0] for index, (seconds, _) in enumerate(values)]
        memory = "" if name == IMPORT else spread([size / 1e6 for _, size in values], ".0f")
        later = "" if name == IMPORT else spread(beyond, ".1f")
        print(f"| {name} | {spread([seconds for seconds, _ in values], '.1f')} | {later} | {memory} |")
    return 0


def import_seconds() -> float:
    """Give the time of a Python that does nothing but import torch."""
    started = time.monotonic()
    subprocess.run([sys.executable, "-c", IMPORT], check=True)  # noqa: S603  # ourselves
    return time.monotonic() - started


def start(settings: Mapping[str, str], port: int) -> Found:
    """Start the service, wait until it is ready, and stop it."""
    own: Peer = ROWS[REFERENCE]
    peer = replace(own, environment=lambda task: {**own.environment(task), **settings})
    with (
        tempfile.TemporaryDirectory() as folder,
        serving(peer, Task(DEFAULT), port=port, log=Path(folder) / "log") as server,
    ):
        return server.ready_seconds, proportional_bytes(server.root)


def spread(values: Sequence[float], form: str) -> str:
    """Give the median, and in brackets the lowest and the highest."""
    return f"{median(values):{form}} ({min(values):{form}} to {max(values):{form}})"


if __name__ == "__main__":
    sys.exit(main())
