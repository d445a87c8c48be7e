import os
import signal
import subprocess
import sys
import time
from pathlib import Path

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
