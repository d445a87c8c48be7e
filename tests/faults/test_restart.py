"""A process that is killed, and one that takes its place."""

import signal
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path

from tests.faults.clients import picture
from tests.faults.server import free_port, serving


def test_after_kill_9_amid_a_request_a_new_process_serves_on_the_same_port(checkpoints: Path, tmp_path: Path) -> None:
    port = free_port()
    with (
        serving(
            tmp_path / "first.log", checkpoints=checkpoints, port=port, null_batch_seconds=0.2, max_batch_size=1
        ) as first,
        closing(HTTPConnection("127.0.0.1", port, timeout=30)) as connection,
    ):
        connection.request("POST", "/segment", picture(1), {"Content-Type": "image/png"})
        first.signal(signal.SIGKILL)
        first.wait()
        left_over = first.processes()
        with serving(tmp_path / "second.log", checkpoints=checkpoints, port=port) as second:
            answer = second.post("/segment", picture(2))
            code = second.terminate()

    assert left_over == []
    assert answer.status_code == 200
    assert code == 0
