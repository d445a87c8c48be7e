"""Start a peer, ask it, stop it, and see that nothing of it stays."""

from __future__ import annotations

import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from benchmarks.peers.peer import Peer, Task

ROOT = Path(__file__).parents[2]

_MARK = "PEER_RUN"
"""The variable by which the processes of one run are found again, whichever session they moved to."""

_POLL = 0.1


class NotReady(RuntimeError):
    """A peer has ended, or has not become ready in time."""


class LeftBehind(RuntimeError):
    """Processes of a peer are there after it was stopped."""


@contextmanager
def running(peer: Peer, task: Task, port: int, *, timeout: float = 120) -> Iterator[str]:
    """Give the address of a peer while it serves a task.

    Raises:
        NotReady: it has ended or not become ready in time; what it said went to stderr.
        LeftBehind: processes of it were there after it was stopped; they are killed.
    """
    mark = uuid.uuid4().hex
    process = subprocess.Popen(  # noqa: S603  # a command of the table
        peer.command(task, port),
        cwd=ROOT,
        env={**os.environ, **peer.environment(task), _MARK: mark},
        start_new_session=True,
    )
    try:
        url = f"http://127.0.0.1:{port}"
        _wait_until_ready(process, f"{url}{peer.ready_path}", timeout)
        yield url
    finally:
        _stop(process)
        left = _gone_or_killed(mark)
    if left:
        raise LeftBehind(f"{peer.name} left processes behind: {', '.join(left)}")


def ask(peer: Peer, url: str, jpeg: bytes, *, timeout: float = 60) -> bytes:
    """Give the PNG that a peer answers to a JPEG."""
    path, headers, body = peer.request(jpeg)
    request = urllib.request.Request(url + path, body, dict(headers), method="POST")  # noqa: S310  # our own server
    with urllib.request.urlopen(request, timeout=timeout) as answer:  # noqa: S310
        return peer.answer(answer.read())


def _wait_until_ready(process: subprocess.Popen[bytes], url: str, timeout: float) -> None:
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise NotReady(f"ended with code {process.returncode} before it was ready")
        if _answers(url):
            return
        time.sleep(_POLL)
    raise NotReady(f"{url} did not answer 200 within {timeout:g} s")


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310  # our own server
            return bool(answer.status == 200)
    except (OSError, urllib.error.HTTPError):
        return False


def _stop(process: subprocess.Popen[bytes], *, patience: float = 30) -> None:
    """Ask the first process to end, wait for it, then end its group."""
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(patience)
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            break
        time.sleep(_POLL)
    process.wait()


def _gone_or_killed(mark: str, *, patience: float = 10) -> list[str]:
    """Wait for the processes of a run to end; kill and name those that do not."""
    deadline = time.monotonic() + patience
    while (found := _marked(mark)) and time.monotonic() < deadline:
        time.sleep(_POLL)
    for pid in found:
        os.kill(pid, signal.SIGKILL)
    return [f"{pid} {name}" for pid, name in found.items()]


def _marked(mark: str) -> dict[int, str]:
    """Give the ids and command lines of the processes of a run."""
    found = {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            if f"{_MARK}={mark}".encode() in (folder / "environ").read_bytes().split(b"\0"):
                words = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                found[int(folder.name)] = words[:200]
        except OSError:
            continue  # it has ended, or is somebody else's
    return found
