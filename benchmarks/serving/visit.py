"""Start one server, measure it under several loads, and stop it: what is done with each server in each round.

Run: ``python -m benchmarks.serving.visit PLAN.json``; the findings are written to the file that the plan names. It is
a process of its own so that it can be run under a command that keeps others off the machine meanwhile.
"""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.peers import Task
from benchmarks.serving.load import Plan
from benchmarks.serving.processes import descendants, proportional_bytes
from benchmarks.serving.rows import ROOT, ROWS
from benchmarks.serving.servers import NotReady, Server, WrongAnswer, serving
from benchmarks.serving.wire import request_bytes

_SAMPLING = 1.0
"""Seconds between looks at the server's memory, each of which takes about 15 ms of a processor."""


@dataclass(frozen=True, slots=True)
class Load:
    """Say how many pictures come: from so many ``clients``, or at a ``rate`` a second.

    A ``share`` is of the most pictures a second that this server has answered before.
    """

    clients: int | None = None
    rate: float | None = None
    share: float | None = None

    @property
    def name(self) -> str:
        """Name it as tables do."""
        if self.clients:
            return "1 client" if self.clients == 1 else f"{self.clients} clients"
        return f"{self.share:.0%} of capacity" if self.share else f"{self.rate:.4g} a second"


@dataclass(frozen=True, slots=True)
class Setup:
    """Say what all visits of a run have in common.

    ``images`` is a folder of JPEGs, ``masks`` has a PNG for each of them, ``log`` is the file for what servers say.
    """

    network: str | None
    images: str
    masks: str
    log: str
    port: int
    threads: int
    max_batch_size: int
    seconds: float
    warm_up: float = 1.0
    most_seconds: float = 30.0

    @property
    def task(self) -> Task:
        """Say what is served."""
        return Task(Path(self.network) if self.network else None, self.threads, self.max_batch_size)


@dataclass(frozen=True, slots=True)
class Visit:
    """Say which server is measured under which loads, and whether its masks are compared before.

    With a ``path`` that is asked for, whatever it answers, instead of masks.
    """

    row: str
    round: int
    loads: Sequence[Load]
    is_compared: bool = False
    path: str | None = None


@dataclass(slots=True)
class Findings:
    """Hold what a visit found; times in seconds since the server was started, memory in bytes."""

    row: str
    round: int
    ready_seconds: float = 0.0
    mask_seconds: float = 0.0
    idle_bytes: int = 0
    num_processes: int = 0
    agreement: float | None = None
    loads: dict[str, dict[str, Any]] = field(default_factory=dict)
    error: str | None = None


def main(words: Sequence[str]) -> None:
    """Do what a plan's file says."""
    plan = json.loads(Path(words[0]).read_text(encoding="utf-8"))
    visit = Visit(**{**plan["visit"], "loads": [Load(**load) for load in plan["visit"]["loads"]]})
    findings = Findings(visit.row, visit.round)
    try:
        _measure(visit, Setup(**plan["setup"]), findings)
    except (NotReady, WrongAnswer, OSError, http.client.HTTPException, subprocess.SubprocessError) as error:
        findings.error = f"{type(error).__name__}: {error}"
    Path(plan["out"]).write_text(json.dumps(asdict(findings)), encoding="utf-8")


def run_visit(visit: Visit, setup: Setup, *, under: Sequence[str] = ()) -> dict[str, Any]:
    """Have a visit made by a process of its own, and give what it found."""
    with tempfile.TemporaryDirectory() as name:
        plan, out = Path(name) / "plan.json", Path(name) / "found.json"
        plan.write_text(json.dumps({"visit": asdict(visit), "setup": asdict(setup), "out": str(out)}), encoding="utf-8")
        command = [*under, sys.executable, "-m", "benchmarks.serving.visit", str(plan)]
        subprocess.run(command, cwd=ROOT, check=True)  # noqa: S603  # our own module
        found: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
        return found


def agreement(found: bytes, wanted: bytes) -> float:
    """Give the share of pixels of two masks, both PNGs, that are equal; none if their sizes differ."""
    first, second = (np.asarray(Image.open(BytesIO(png))) for png in (found, wanted))
    return float((first == second).mean()) if first.shape == second.shape else 0.0


def _measure(visit: Visit, setup: Setup, findings: Findings) -> None:
    peer, jpegs = ROWS[visit.row], sorted(Path(setup.images).glob("*.jpg"))
    with (
        tempfile.TemporaryDirectory() as folder,
        serving(peer, setup.task, port=setup.port, log=Path(setup.log)) as server,
    ):
        findings.ready_seconds = server.ready_seconds
        started = time.monotonic()
        server.ask(jpegs[0].read_bytes())
        findings.mask_seconds = server.ready_seconds + time.monotonic() - started
        findings.idle_bytes = proportional_bytes(server.root)
        findings.num_processes = len(descendants(server.root))
        if visit.is_compared:
            findings.agreement = _compare(server, jpegs, Path(setup.masks))
        requests = list(_write_requests(visit, jpegs, Path(folder), port=setup.port))
        for load in visit.loads:
            capacity = max((found["images_per_second"] for found in findings.loads.values()), default=0.0)
            findings.loads[load.name] = _under_load(server, _plan(load, capacity, visit, setup, requests))


def _compare(server: Server, jpegs: Sequence[Path], masks: Path) -> float:
    """Give the share of pixels that have the class which they should have."""
    shares = [
        agreement(server.ask(jpeg.read_bytes()), (masks / jpeg.with_suffix(".png").name).read_bytes()) for jpeg in jpegs
    ]
    return sum(shares) / len(shares)


def _write_requests(visit: Visit, jpegs: Sequence[Path], folder: Path, *, port: int) -> Iterator[str]:
    """Write the bytes that go to the server, a file for each picture, and give the files' names."""
    host = f"127.0.0.1:{port}"
    for jpeg in jpegs:
        path, headers, body = ROWS[visit.row].request(jpeg.read_bytes())
        file = folder / jpeg.with_suffix(".http").name
        whole = request_bytes(path, headers, body, host=host)
        file.write_bytes(whole if visit.path is None else request_bytes(visit.path, {}, b"", host=host, method="GET"))
        yield str(file)


def _plan(load: Load, capacity: float, visit: Visit, setup: Setup, requests: Sequence[str]) -> Plan:
    return Plan(
        port=setup.port,
        requests=requests,
        clients=load.clients,
        rate=load.share * capacity if load.share else load.rate,
        warm_up=setup.warm_up,
        seconds=setup.seconds,
        most_seconds=setup.most_seconds,
        least=2 * (load.clients or 0),
        seed=visit.round,
        wants_png=visit.path is None,
    )


def _under_load(server: Server, plan: Plan) -> dict[str, Any]:
    """Run the client to its end, look at the server's memory meanwhile, and give what both found."""
    if not (plan.clients or plan.rate):
        return {"images_per_second": 0.0, "error": "nothing was answered before, so there is no capacity"}
    peak_bytes, num_processes, told = 0, 0, None
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(asdict(replace(plan, root=server.root)), file)
        file.flush()
        command = [sys.executable, "-m", "benchmarks.serving.load", file.name]
        client = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE)  # noqa: S603  # our own module
        while told is None:
            with suppress(subprocess.TimeoutExpired):
                told, _ = client.communicate(timeout=_SAMPLING)
            peak_bytes = max(peak_bytes, proportional_bytes(server.root))
            num_processes = max(num_processes, len(descendants(server.root)))
    if client.returncode:
        raise subprocess.CalledProcessError(client.returncode, command)
    found: dict[str, Any] = json.loads(told)
    return {
        **found,
        "clients": plan.clients,
        "rate": plan.rate,
        "peak_bytes": peak_bytes,
        "num_processes": num_processes,
    }


if __name__ == "__main__":
    main(sys.argv[1:])
