"""SIGTERM while requests are in flight."""

import asyncio
import signal
import time
from pathlib import Path

from tests.faults.clients import Answer, ask, is_own_mask, picture, together
from tests.faults.server import Server, serving, until

SHUTDOWN_TIMEOUT = 10
NUM_IN_FLIGHT = 24
DRAIN_DELAY = 1.5


def test_what_is_in_flight_at_sigterm_is_answered_and_nothing_is_left_over(checkpoints: Path, log: Path) -> None:
    with serving(
        log, checkpoints=checkpoints, null_batch_seconds=0.15, max_batch_size=1, shutdown_timeout=SHUTDOWN_TIMEOUT
    ) as server:
        answers, refusals = asyncio.run(terminate_amid_requests(server))
        asked_at = time.monotonic()
        code = server.wait(SHUTDOWN_TIMEOUT)
        left_over = server.processes()

    assert [answer.status for answer in answers] == [200] * NUM_IN_FLIGHT
    assert all(is_own_mask(answer, index) for index, answer in enumerate(answers))
    assert refusals == {"refused"}
    assert code == 0
    assert left_over == []
    assert time.monotonic() - asked_at < SHUTDOWN_TIMEOUT


async def terminate_amid_requests(server: Server) -> tuple[list[Answer], set[str]]:
    """Give the answers of those that were in flight at SIGTERM, and how it went for those that came after."""
    asking = [asyncio.create_task(ask(server.url, picture(index))) for index in range(NUM_IN_FLIGHT)]
    await asyncio.to_thread(until, lambda: server.metric("segserve_in_flight") == NUM_IN_FLIGHT)
    server.signal(signal.SIGTERM)
    await asyncio.to_thread(until, lambda: bool(server.events("stopping")))
    refusals = await together([attempt(server) for _ in range(5)])
    return await asyncio.gather(*asking), set(refusals)


async def attempt(server: Server) -> str:
    """Give how a new request is met: both a closed door and a 503 are a refusal."""
    try:
        answer = await ask(server.url, picture(0))
    except ConnectionError:
        return "refused"
    return "refused" if answer.status == 503 else str(answer.status)


def test_a_server_told_to_wait_is_not_ready_at_once_and_serves_on(checkpoints: Path, log: Path) -> None:
    with serving(log, checkpoints=checkpoints, drain_delay=DRAIN_DELAY) as server:
        server.signal(signal.SIGTERM)
        told_at = time.monotonic()
        readiness = server.wait_for("/readyz", 503)
        seconds = time.monotonic() - told_at
        answer = asyncio.run(ask(server.url, picture(5)))
        still_alive = server.get("/healthz").status_code
        code = server.wait()
        lasted = time.monotonic() - told_at

    assert readiness.json()["draining"] is True
    assert seconds < 1
    assert (answer.status, is_own_mask(answer, 5)) == (200, True)
    assert still_alive == 200
    assert code == 0
    assert lasted >= DRAIN_DELAY
