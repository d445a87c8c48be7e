"""The thread of the device dies: the process says so, answers at once, and ends to be replaced."""

import asyncio
import signal
import sys
from pathlib import Path

import pytest

from tests.faults.clients import Answer, ask, picture, together
from tests.faults.server import Server, serving, until

COMMAND = (sys.executable, "-m", "tests.faults.dying_server")
AT_ONCE = 3.0


@pytest.mark.parametrize("num_requests", [0, 12], ids=["idle", "busy"])
def test_when_the_devices_thread_dies_the_process_says_so_and_ends(
    checkpoints: Path, log: Path, num_requests: int
) -> None:
    with serving(
        log, command=COMMAND, checkpoints=checkpoints, null_batch_seconds=0.1, max_batch_size=1, broken_exit_delay=2
    ) as server:
        answers = asyncio.run(kill_amid_requests(server, num_requests))
        health = server.wait_for("/healthz", 503, seconds=AT_ONCE)
        readiness = server.get("/readyz")
        late = asyncio.run(ask(server.url, picture(1)))
        code = server.wait(10)
        left_over = server.processes()

    assert {answer.status for answer in answers} <= {200, 503}
    assert answers[-1].status == 503
    assert all(answer.seconds < AT_ONCE for answer in answers)
    assert "thread has died" in health.text
    assert readiness.status_code == 503
    assert (late.status, late.headers["content-type"]) == (503, "application/problem+json")
    assert late.seconds < AT_ONCE
    assert code not in {0, -signal.SIGKILL}
    assert left_over == []


async def kill_amid_requests(server: Server, num_requests: int) -> list[Answer]:
    """Give the answers of requests that were in work when the thread died, and of one that came after."""
    asking = asyncio.gather(*(ask(server.url, picture(index)) for index in range(num_requests)))
    await asyncio.to_thread(until, lambda: server.metric("segserve_in_flight") == num_requests)
    server.signal(signal.SIGUSR1)
    after = await together([ask(server.url, picture(0))])
    return [*await asking, *after]
