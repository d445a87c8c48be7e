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
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, field, replace
from io import BytesIO
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.peers import Peer, Task
from benchmarks.serving.load import Plan
from benchmarks.serving.processes import descendants, proportional_bytes
from benchmarks.serving.rows import ROOT, ROWS, asking, bound, configured
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

    With a ``path`` that is asked for, whatever it answers, instead of masks. Of this service: ``settings`` come on top
    of the row's, pictures go to each of ``models`` in turn, and there are as many servers as ``cores`` has entries,
    each bound to those that ``taskset`` knows by this name.
    """

    row: str
    round: int
    loads: Sequence[Load]
    is_compared: bool = False
    path: str | None = None
    settings: Mapping[str, str] = field(default_factory=dict)
    models: Sequence[str] = ()
    cores: Sequence[str] = ()


@dataclass(slots=True)
class Findings:
    """Hold what a visit found; times in seconds since the server was started, memory in bytes.

    Of several servers ``ready_seconds`` is that of the slowest. ``models_seconds`` is how long it took to ask every
    model once, after the first mask, and ``models_bytes`` what is held then.
    """

    row: str
    round: int
    ready_seconds: float = 0.0
    mask_seconds: float = 0.0
    idle_bytes: int = 0
    num_processes: int = 0
    models_seconds: float | None = None
    models_bytes: int | None = None
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
    jpegs = sorted(Path(setup.images).glob("*.jpg"))
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        servers = [
            stack.enter_context(serving(peer, setup.task, port=setup.port + number, log=Path(f"{setup.log}{number}")))
            for number, peer in enumerate(_peers(visit))
        ]
        server = servers[0]
        findings.ready_seconds = max(server.ready_seconds for server in servers)
        started = time.monotonic()
        server.ask(jpegs[0].read_bytes())
        findings.mask_seconds = findings.ready_seconds + time.monotonic() - started
        findings.idle_bytes, findings.num_processes = _memory(servers)
        if visit.models:
            started = time.monotonic()
            for model in visit.models:
                replace(server, peer=asking(server.peer, model)).ask(jpegs[0].read_bytes())
            findings.models_seconds = time.monotonic() - started
            findings.models_bytes, _ = _memory(servers)
        if visit.is_compared:
            findings.agreement = _compare(server, jpegs, Path(setup.masks))
        requests = list(_write_requests(visit, jpegs, Path(folder), port=setup.port))
        for load in visit.loads:
            capacity = max((found["images_per_second"] for found in findings.loads.values()), default=0.0)
            findings.loads[load.name] = _under_load(servers, _plan(load, capacity, visit, setup, requests))


def _peers(visit: Visit) -> Sequence[Peer]:
    """Give the servers that are started."""
    peer = configured(ROWS[visit.row], visit.settings) if visit.settings else ROWS[visit.row]
    return [bound(peer, cores) for cores in visit.cores] or [peer]


def _memory(servers: Sequence[Server]) -> tuple[int, int]:
    """Give the bytes and the number of all processes of the servers."""
    roots = [server.root for server in servers]
    return sum(map(proportional_bytes, roots)), sum(len(descendants(root)) for root in roots)


def _compare(server: Server, jpegs: Sequence[Path], masks: Path) -> float:
    """Give the share of pixels that have the class which they should have."""
    shares = [
        agreement(server.ask(jpeg.read_bytes()), (masks / jpeg.with_suffix(".png").name).read_bytes()) for jpeg in jpegs
    ]
    return sum(shares) / len(shares)


def _write_requests(visit: Visit, jpegs: Sequence[Path], folder: Path, *, port: int) -> Iterator[str]:
    """Write the bytes that go to the server, a file for each picture, and give the files' names."""
    host, peer = f"127.0.0.1:{port}", ROWS[visit.row]
    asked = [asking(peer, model) for model in visit.models] or [peer]
    for number, (jpeg, one) in enumerate(product(jpegs, asked)):
        path, headers, body = one.request(jpeg.read_bytes())
        file = folder / f"{number:05}.http"
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
        num_ports=max(1, len(visit.cores)),
    )


def _under_load(servers: Sequence[Server], plan: Plan) -> dict[str, Any]:
    """Run the client to its end, look at the servers' memory meanwhile, and give what both found."""
    if not (plan.clients or plan.rate):
        return {"images_per_second": 0.0, "error": "nothing was answered before, so there is no capacity"}
    peak_bytes, num_processes, told = 0, 0, None
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(asdict(replace(plan, roots=[server.root for server in servers])), file)
        file.flush()
        command = [sys.executable, "-m", "benchmarks.serving.load", file.name]
        client = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE)  # noqa: S603  # our own module
        while told is None:
            with suppress(subprocess.TimeoutExpired):
                told, _ = client.communicate(timeout=_SAMPLING)
            peak_bytes, num_processes = map(max, (peak_bytes, num_processes), _memory(servers))
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
