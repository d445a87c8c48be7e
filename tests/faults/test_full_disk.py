"""Disks on which nothing more can be written."""

import resource
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.faults.clients import picture
from tests.faults.conftest import save_model
from tests.faults.server import free_port, serving

DISK_BYTES = 64 << 10


@contextmanager
def small_disk() -> Iterator[None]:
    """Let no file of this process grow beyond ``DISK_BYTES``."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (DISK_BYTES, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, ignored)


def test_a_checkpoint_that_does_not_fit_on_the_disk_leaves_the_old_one_and_no_part_of_itself(tmp_path: Path) -> None:
    path = save_model(tmp_path / "tiny.safetensors")
    old = path.read_bytes()
    assert len(old) > DISK_BYTES

    with pytest.raises(OSError, match="File too large"), small_disk():
        save_model(path, num_classes=7)

    assert list(tmp_path.iterdir()) == [path]
    assert path.read_bytes() == old


@pytest.mark.parametrize("redirection", ["2>/dev/full", pytest.param("2>&-", marks=pytest.mark.soak)])
def test_a_server_that_can_write_no_log_answers_on(checkpoints: Path, log: Path, redirection: str) -> None:
    command = ("/bin/sh", "-c", f'exec "$0" -m service serve {redirection}', sys.executable)
    with serving(log, command=command, checkpoints=checkpoints, port=free_port()) as server:
        answers = [server.post("/segment", picture(index)) for index in range(20)]
        broken = server.post("/segment", b"no image")
        code = server.terminate()

    assert [answer.status_code for answer in answers] == [200] * 20
    assert broken.status_code == 422
    assert code == 0
