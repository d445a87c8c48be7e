import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from tensorboard.backend.event_processing.event_accumulator import (  # type: ignore[import-untyped]  # no stubs
    EventAccumulator,
)

from training.events import Events


def read(folder: Path, name: str) -> list[tuple[int, float]]:
    """Give what TensorBoard shows of one curve."""
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    events.Reload()
    return [(event.step, event.value) for event in events.Scalars(name)]


def started_later(folder: Path, *, first_step: int) -> Events:
    """Begin in another second than any start before: by seconds, and then by words, TensorBoard orders the files."""
    time.sleep(1 - time.time() % 1)
    return Events(folder, first_step=first_step)


def test_what_is_added_is_shown_by_tensorboard(tmp_path: Path) -> None:
    events = Events(tmp_path, first_step=0)
    events.add(1, {"loss": 0.5, "lr": 0.25})
    events.add(2, {"loss": 0.125})
    events.close()

    assert read(tmp_path, "loss") == [(1, 0.5), (2, 0.125)]
    assert read(tmp_path, "lr") == [(1, 0.25)]


def test_a_resumed_run_shows_no_step_twice(tmp_path: Path) -> None:
    first = Events(tmp_path, first_step=0)
    first.add(1, {"loss": 4.0})
    first.add(2, {"loss": 3.0})
    first.add(3, {"loss": 2.0})
    first.close()

    second = started_later(tmp_path, first_step=2)
    second.add(2, {"loss": 1.0})
    second.close()

    assert read(tmp_path, "loss") == [(1, 4.0), (2, 1.0)]


def test_a_run_that_starts_anew_hides_all_that_was_there(tmp_path: Path) -> None:
    first = Events(tmp_path, first_step=0)
    first.add(0, {"loss": 4.0})
    first.add(1, {"loss": 3.0})
    first.close()

    second = started_later(tmp_path, first_step=0)
    second.add(0, {"loss": 1.0})
    second.close()

    assert read(tmp_path, "loss") == [(0, 1.0)]


def test_a_wake_up_that_an_interrupt_has_lost_does_not_hold_up_the_end(tmp_path: Path) -> None:
    events = Events(tmp_path, first_step=0)
    events.add(0, {"loss": 1.0})
    lose_the_next_wake_up(events)
    started = time.monotonic()

    events.close()

    assert time.monotonic() - started < 60
    assert read(tmp_path, "loss") == [(0, 1.0)]


def lose_the_next_wake_up(events: Events) -> None:
    """Leave what an interrupt leaves that hits while the sleeping writer is woken: a sleeper who has gone already."""
    writer: Any = events._writer.file_writer
    condition = writer.event_writer._async_writer._byte_queue.not_empty
    deadline = time.monotonic() + 20
    while not condition._waiters and time.monotonic() < deadline:
        time.sleep(0.01)
    gone = threading.Lock()
    gone.acquire()
    with condition:
        assert condition._waiters
        condition._waiters.appendleft(gone)


KILLED = """
import os, signal, sys
from pathlib import Path
from training.events import Events

events = Events(Path(sys.argv[1]), first_step=0)
for step in range(500):
    events.add(step, {"loss": 1.0})
events.flush()
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_kill_loses_nothing_that_was_flushed(tmp_path: Path) -> None:
    ended = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], timeout=120, check=False)  # noqa: S603  # fixed words

    assert ended.returncode == -signal.SIGKILL
    assert len(read(tmp_path, "loss")) == 500


def test_a_file_that_was_cut_off_by_a_kill_is_read_and_continued(tmp_path: Path) -> None:
    first = Events(tmp_path, first_step=0)
    first.add(1, {"loss": 4.0})
    first.add(2, {"loss": 3.0})
    first.close()
    cut = next(tmp_path.iterdir())
    os.truncate(cut, cut.stat().st_size - 5)

    second = started_later(tmp_path, first_step=2)
    second.add(2, {"loss": 1.0})
    second.close()

    assert read(tmp_path, "loss") == [(1, 4.0), (2, 1.0)]
