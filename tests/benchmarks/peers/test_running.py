"""Start and ask the plain peer with the project's own Python, and see that it goes."""

from __future__ import annotations

import re
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.peers import PEERS, Peer, Task
from benchmarks.peers.peer import free_port
from benchmarks.peers.running import LeftBehind, NotReady, ask, running
from benchmarks.peers.work import load

PLAIN = PEERS["plain"]


def with_own_python(*words: str) -> Peer:
    """Give the plain peer, started by the project's Python with these words instead of its own."""
    return replace(
        PLAIN, command=lambda task, port: [sys.executable, *(words or PLAIN.command(task, port)[1:]), str(port)]
    )


def ends(pid: int, *, patience: float = 10) -> bool:
    """Wait for a process that was killed; one that its parent has not buried has no command line."""
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        try:
            if not Path(f"/proc/{pid}/cmdline").read_bytes():
                return True
        except OSError:
            return True
        time.sleep(0.05)
    return False


def test_plain_answers_the_empty_network_s_mask_and_is_gone_afterwards() -> None:
    port, jpeg = free_port(), Path("examples/cat.jpg").read_bytes()

    with running(with_own_python(), Task(), port) as url:
        answers = {ask(PLAIN, url, jpeg) for _ in range(3)}

    assert answers == {load(Task())([jpeg])[0]}
    with pytest.raises(OSError, match="refused"):
        ask(PLAIN, f"http://127.0.0.1:{port}", jpeg)


def test_plain_answers_masks_of_a_network() -> None:
    task = Task(Path("model_zoo/checkpoints/unet-lite2-voc.safetensors"))
    jpeg = Path("examples/cat.jpg").read_bytes()

    with running(with_own_python(), task, free_port()) as url:
        png = ask(PLAIN, url, jpeg)

    assert png == load(task)([jpeg])[0]


def test_a_peer_that_ends_is_told() -> None:
    with pytest.raises(NotReady, match="code 3"), running(with_own_python("-c", "raise SystemExit(3)"), Task(), 1):
        pass


def test_a_peer_that_is_never_ready_is_told() -> None:
    waiting = with_own_python("-c", "import time; time.sleep(60)")

    with pytest.raises(NotReady, match=r"within 0\.3 s"), running(waiting, Task(), free_port(), timeout=0.3):
        pass


def test_what_a_peer_leaves_behind_in_another_session_is_told_and_killed() -> None:
    leaving = (
        "import subprocess, sys, http.server;"
        "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(77)'], start_new_session=True);"
        "answer = type('Answer', (http.server.BaseHTTPRequestHandler,), {'do_GET': lambda self: self.send_error(200)});"
        "http.server.HTTPServer(('127.0.0.1', int(sys.argv[1])), answer).serve_forever()"
    )

    with pytest.raises(LeftBehind) as caught, running(with_own_python("-c", leaving), Task(), free_port()):
        pass

    found = re.search(r"(\d+) .*sleep\(77\)", str(caught.value))
    assert found
    assert ends(int(found[1]))
