"""Run the real server as a process of its own, look into it from outside, and always end it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families

PATIENCE = 60.0
"""Seconds after which what should have come to be is said not to have."""

COMMAND = (sys.executable, "-m", "service", "serve")

LIVE: list[Server] = []
"""The servers that run now: what they have logged is shown with a test that fails."""


class Server:
    """Hold a server process and its log file."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path, url: str | None) -> None:
        self.process = process
        self.log = log
        self._url = url

    @property
    def pid(self) -> int:
        """Give the process's id; its session and its group have the same."""
        return self.process.pid

    @property
    def url(self) -> str:
        """Give the address that the log told, or that was asked for."""
        if self._url is None:
            until(lambda: self.process.poll() is not None or bool(self.events("listening")))
            events = self.events("listening")
            assert events, f"the server ended with {self.process.returncode}: {self.log_text()}"
            self._url = str(events[0]["url"])
        return self._url

    @property
    def port(self) -> int:
        """Give the port that it listens on."""
        return int(self.url.rpartition(":")[2])

    @property
    def is_alive(self) -> bool:
        """Whether the process runs."""
        return self.process.poll() is None

    def get(self, path: str) -> httpx.Response:
        """Ask for a page."""
        return httpx.get(self.url + path, timeout=20)

    def post(self, path: str, content: bytes = b"", **headers: str) -> httpx.Response:
        """Send a body, a PNG unless the headers tell otherwise."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return httpx.post(self.url + path, content=content, headers={"Content-Type": "image/png", **named}, timeout=60)

    def wait_for(self, path: str, status: int, *, seconds: float = PATIENCE) -> httpx.Response:
        """Wait until a page has a status, and give it."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            assert self.is_alive, f"the server ended with {self.process.returncode}: {self.log_text()}"
            with suppress(httpx.TransportError):
                response = self.get(path)
                if response.status_code == status:
                    return response
            time.sleep(0.02)
        raise AssertionError(f"{path} did not become {status} in time")

    def metric(self, name: str, **labels: str) -> float:
        """Give the sum of the samples of that name that have these labels."""
        families = text_string_to_metric_families(self.get("/metrics").text)
        samples = (sample for family in families for sample in family.samples)
        return sum(
            float(sample.value) for sample in samples if sample.name == name and labels.items() <= sample.labels.items()
        )

    def log_text(self) -> str:
        """Give all that was written to stderr."""
        return self.log.read_text(errors="replace") if self.log.is_file() else ""

    def events(self, name: str) -> list[dict[str, Any]]:
        """Give the log's whole lines about an event."""
        lines = [line for line in self.log_text().splitlines(keepends=True) if line.endswith("\n") and line[0] == "{"]
        return [event for event in map(json.loads, lines) if event["event"] == name]

    def resident_bytes(self) -> int:
        """Give the memory in use now."""
        return self._kilobytes("VmRSS") << 10

    def peak_bytes(self) -> int:
        """Give the most memory that was in use since the start, or since ``forget_peak``."""
        return self._kilobytes("VmHWM") << 10

    def forget_peak(self) -> None:
        """Make the memory in use now the peak (proc(5), clear_refs)."""
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")

    def num_files(self) -> int:
        """Count the open file descriptors."""
        return len(list(Path(f"/proc/{self.pid}/fd").iterdir()))

    def num_threads(self) -> int:
        """Count the threads."""
        return len(list(Path(f"/proc/{self.pid}/task").iterdir()))

    def processes(self) -> list[int]:
        """Give the ids of all living processes of the server's session."""
        names = (entry.name for entry in Path("/proc").iterdir())
        return [pid for pid in map(int, filter(str.isdecimal, names)) if _session(pid) == self.pid]

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the server process alone."""
        self.process.send_signal(number)

    def wait(self, seconds: float = PATIENCE) -> int:
        """Wait for the end and give the exit code."""
        return self.process.wait(seconds)

    def terminate(self) -> int:
        """Ask it to stop, as an orchestrator does, and give the exit code."""
        self.signal(signal.SIGTERM)
        return self.wait()

    def end(self) -> None:
        """End the process and whatever it has started, at once."""
        for pid in self.processes():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.wait()

    def _kilobytes(self, field: str) -> int:
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))


@contextmanager
def launched(
    log: Path,
    *,
    command: Sequence[str] = COMMAND,
    **settings: object,
) -> Iterator[Server]:
    """Start a server with the null runtime and these settings; it may not be ready yet, or ever.

    The log goes to the file ``log`` unless the command sends it elsewhere.
    """
    port = int(str(settings.get("port", 0)))
    with log.open("wb") as stderr:
        process = subprocess.Popen(  # noqa: S603  # our own command
            command, env=_environment({"port": 0, **settings}), stderr=stderr, start_new_session=True
        )
    server = Server(process, log, f"http://127.0.0.1:{port}" if port else None)
    LIVE.append(server)
    try:
        yield server
    finally:
        server.end()
        LIVE.remove(server)


@contextmanager
def serving(log: Path, **settings: Any) -> Iterator[Server]:  # noqa: ANN401  # as ``launched``
    """Start a server and wait until it is ready."""
    with launched(log, **settings) as server:
        server.wait_for("/readyz", 200)
        yield server


def until(condition: Callable[[], bool], *, seconds: float = PATIENCE) -> None:
    """Wait until a condition holds, under a deadline."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to be in time"
        time.sleep(0.01)


def free_port() -> int:
    """Give a port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def _environment(settings: Mapping[str, object]) -> dict[str, str]:
    """Give the environment with these settings alone, and without coverage: a killed process could not tell of it."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("SEGSERVE_", "COVERAGE_"))}
    told = {"device": "cpu", "runtime": "null", "torch_threads": 1, **settings}
    return {**kept, **{f"SEGSERVE_{name.upper()}": str(value) for name, value in told.items()}}


def _session(pid: int) -> int | None:
    """Give the session of a process that lives; a zombie does not."""
    try:
        after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if after_name[0] == "Z" else int(after_name[3])
