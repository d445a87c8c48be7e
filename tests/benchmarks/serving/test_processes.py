"""Count what real processes take, of which some end and some lose their parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from benchmarks.serving.processes import cpu_seconds, descendants, proportional_bytes

BUSY = "import time\nend = time.process_time() + 0.2\nwhile time.process_time() < end: pass\n"
SLEEPING = "import time\ntime.sleep(60)\n"
PARENT_OF_BUSY = f"import subprocess, sys, time\nsubprocess.run([sys.executable, '-c', {BUSY!r}])\ntime.sleep(60)\n"
MIDDLE = f"import subprocess, sys\nsubprocess.Popen([sys.executable, '-c', {SLEEPING!r}], start_new_session=True)\n"
LEAVES_AN_ORPHAN = f"import subprocess, sys, time\nsubprocess.run([sys.executable, '-c', {MIDDLE!r}])\ntime.sleep(60)\n"
DEAF = "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\ntime.sleep(60)\n"


Start = Callable[[str], int]


@pytest.fixture
def start() -> Iterator[Start]:
    """Give a way to run a script under ``supervise``; the id is that of the root of its processes."""
    started = []

    def supervise(script: str) -> int:
        command = [sys.executable, "-m", "benchmarks.serving.supervise", sys.executable, "-c", script]
        started.append(subprocess.Popen(command))  # noqa: S603  # scripts of this file
        return started[-1].pid

    yield supervise
    for process in started:
        process.send_signal(signal.SIGTERM)
        process.wait(20)


def until(condition: Callable[[], bool]) -> None:
    """Wait until something has come to be."""
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def children_of(pid: int) -> list[int]:
    """Give the ids of a process's own children."""
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="utf-8").split()]


def test_the_time_of_a_child_that_has_ended_is_counted(start: Start) -> None:
    root = start(PARENT_OF_BUSY)

    until(lambda: cpu_seconds(root) >= 0.2)
    until(lambda: len(descendants(root)) == 1)

    assert cpu_seconds(root) >= 0.2


def test_the_root_itself_is_not_counted_and_memory_is(start: Start) -> None:
    root = start(SLEEPING)

    until(lambda: len(descendants(root)) == 1)

    assert root not in descendants(root)
    assert 1e6 < proportional_bytes(root) < 1e9


def test_a_process_that_lost_its_parent_is_counted_and_ended(start: Start) -> None:
    root = start(LEAVES_AN_ORPHAN)
    until(lambda: len(children := children_of(root)) == 2 and set(children) == set(descendants(root)))
    first, orphan = sorted(children_of(root))  # the middle one has ended

    os.kill(first, signal.SIGTERM)

    until(lambda: not descendants(root))
    until(lambda: not Path(f"/proc/{orphan}").exists())  # once its new parent has taken note of its end


def test_nothing_is_known_of_what_is_not_there() -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()

    assert descendants(gone.pid) == []
    assert cpu_seconds(gone.pid) == 0
    assert proportional_bytes(gone.pid) == 0


def test_supervise_gives_the_exit_code_of_its_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.serving.supervise", sys.executable, "-c", "raise SystemExit(7)"], check=False
    )

    assert done.returncode == 7


def test_what_will_not_stop_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    script = (
        "import sys; from benchmarks.serving import supervise as s; s.PATIENCE = 0.1; sys.exit(s.main(sys.argv[1:]))"
    )
    monkeypatch.delenv("COVERAGE_PROCESS_START", raising=False)
    process = subprocess.Popen([sys.executable, "-c", script, sys.executable, "-c", DEAF])  # noqa: S603  # as above
    until(lambda: len(descendants(process.pid)) == 1)
    (deaf,) = descendants(process.pid)
    until(lambda: _ignores_sigterm(deaf))

    process.send_signal(signal.SIGTERM)

    assert process.wait(20) != 0
    assert descendants(deaf) == []


def _ignores_sigterm(pid: int) -> bool:
    lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    ignored = next(line.split()[1] for line in lines if line.startswith("SigIgn:"))
    return bool(int(ignored, 16) >> (signal.SIGTERM - 1) & 1)
