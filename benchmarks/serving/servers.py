"""Start a server, wait until it answers masks, and stop it with all of its processes."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.peers import Peer, Task
from benchmarks.serving.rows import ROOT

_POLL = 0.02
_TOLD = 2000  # characters of the log


class NotReady(RuntimeError):
    """A server has ended, or has not become ready in time; the message has the end of its log."""


class WrongAnswer(RuntimeError):
    """A server did not answer a picture with a mask."""


@dataclass(frozen=True, slots=True)
class Server:
    """Hold a server that answers; ``root`` is the process below which all of its own are."""

    peer: Peer
    port: int
    root: int
    ready_seconds: float

    def ask(self, jpeg: bytes, *, timeout: float = 120) -> bytes:
        """Give the PNG that is answered to a picture.

        Raises:
            WrongAnswer: there is none.
        """
        path, headers, body = self.peer.request(jpeg)
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            connection.request("POST", path, body, dict(headers))
            answer = connection.getresponse()
            content = answer.read()
        finally:
            connection.close()
        if answer.status != 200:
            raise WrongAnswer(f"{self.peer.name} answered {answer.status}: {content[:200]!r}")
        return self.peer.answer(content)


@contextmanager
def serving(peer: Peer, task: Task, *, port: int, log: Path, timeout: float = 180) -> Iterator[Server]:
    """Serve a task until the end of the block; what the server says goes to ``log``.

    Raises:
        NotReady: it has ended or not become ready in time, or another server is on the port.
    """
    _check_free(port)
    command = [sys.executable, "-m", "benchmarks.serving.supervise", *peer.command(task, port)]
    with log.open("wb") as output:
        started = time.monotonic()
        process = subprocess.Popen(  # noqa: S603  # a row's own command
            command,
            cwd=ROOT,
            env={**_plain_environment(os.environ), "PYTHONPATH": str(ROOT), **peer.environment(task)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
        try:
            _wait_until_ready(process, peer, port=port, timeout=timeout, log=log)
            yield Server(peer, port, process.pid, time.monotonic() - started)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait()


def _check_free(port: int) -> None:
    """Refuse a port on which somebody answers: it would be that server which is measured."""
    with socket.socket() as taken:
        if taken.connect_ex(("127.0.0.1", port)) == 0:
            raise NotReady(f"another server is on port {port}")


def _plain_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Leave out what would change a server's settings, or how its threads wait."""
    return {key: value for key, value in environ.items() if not key.startswith(("SEGSERVE_", "PEER_", "OMP_"))}


def _wait_until_ready(process: subprocess.Popen[bytes], peer: Peer, *, port: int, timeout: float, log: Path) -> None:
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise NotReady(f"{peer.name} ended with {process.returncode}: {_end_of(log)}")
        if _is_ready(peer.ready_path, port):
            return
        time.sleep(_POLL)
    raise NotReady(f"{peer.name} was not ready within {timeout:g} s: {_end_of(log)}")


def _is_ready(path: str, port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _end_of(log: Path) -> str:
    return log.read_text(errors="replace")[-_TOLD:]
