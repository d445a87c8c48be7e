"""Poison, overload and clients that hang up: more is asked than can be given."""

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import httpx
import pytest

from tests.faults.clients import MAGENTA, Answer, ask, connected, is_own_mask, picture, request, together
from tests.faults.conftest import Tell
from tests.faults.server import Server, serving, until
from tests.service.fakes import encode, plain_image

MAX_BATCH_SIZE = 8
MAX_IN_FLIGHT = 64
PLUGS = ((30, 30), (30, 40))
"""Sizes of images that keep the device busy while others gather: they never share a batch."""
FORWARDED = "segserve_images_forwarded_total"


@pytest.fixture(scope="module")
def server(checkpoints: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Give a server that takes 0.3 s for a batch and fails on magenta."""
    with serving(
        tmp_path_factory.mktemp("pressure") / "server.log",
        checkpoints=checkpoints,
        null_batch_seconds=0.3,
        null_fail_color="ff00ff",
        max_batch_size=MAX_BATCH_SIZE,
        max_in_flight=MAX_IN_FLIGHT,
    ) as running:
        yield running


def test_an_image_that_fails_in_a_batch_of_eight_fails_alone(server: Server) -> None:
    images = [picture(index) for index in range(7)]
    batches_of_eight, before = batches_larger_than_four(server), server.metric(FORWARDED)

    async def poison() -> list[Answer]:
        plugs = [asyncio.create_task(ask(server.url, plain_image(size=size))) for size in PLUGS]
        await until_more_than(before, server)
        answers = await together([ask(server.url, image) for image in [*images, encode(MAGENTA)]])
        await asyncio.gather(*plugs)
        return answers

    *innocents, guilty = asyncio.run(poison())
    afterwards = asyncio.run(ask(server.url, picture(3)))

    assert batches_larger_than_four(server) == batches_of_eight + 1, "they were not in one batch"
    assert [answer.status for answer in innocents] == [200] * 7
    assert [is_own_mask(answer, index) for index, answer in enumerate(innocents)] == [True] * 7
    assert (guilty.status, guilty.headers["content-type"]) == (500, "application/problem+json")
    assert json.loads(guilty.content)["type"] == "urn:problem-type:segserve:forward-failed"
    assert (afterwards.status, is_own_mask(afterwards, 3)) == (200, True)


def test_of_300_requests_at_once_each_is_served_or_refused(server: Server, tell: Tell) -> None:
    before = server.metric(FORWARDED)

    async def burst() -> list[Answer]:
        return await together([ask(server.url, picture(index)) for index in range(300)])

    answers = asyncio.run(burst())

    served = [(index, answer) for index, answer in enumerate(answers) if answer.status == 200]
    refused = [answer for answer in answers if answer.status == 503]
    for name, group in (("served", [answer for _, answer in served]), ("refused", refused)):
        seconds = [answer.seconds for answer in group]
        tell(name, f"{len(group)}, median {median(seconds):.3f} s, slowest {max(seconds):.3f} s")
    assert len(served) + len(refused) == 300
    assert MAX_IN_FLIGHT <= len(served) < 300
    assert all(is_own_mask(answer, index) for index, answer in served)
    assert all("retry-after" in answer.headers for answer in refused)
    assert all(answer.headers["content-type"] == "application/problem+json" for answer in refused)
    assert server.metric(FORWARDED) - before == len(served)
    assert server.metric("segserve_in_flight") == 0


def test_probes_are_answered_while_more_is_asked_than_can_be_given(server: Server, tell: Tell) -> None:
    async def burst() -> tuple[list[httpx.Response], float]:
        asking = asyncio.gather(*(ask(server.url, picture(index)) for index in range(200)))
        await asyncio.to_thread(until, lambda: server.metric("segserve_in_flight") > MAX_BATCH_SIZE)
        started = time.monotonic()
        probes = [await asyncio.to_thread(server.get, path) for path in ("/healthz", "/readyz")]
        seconds = time.monotonic() - started
        await asking
        return probes, seconds

    probes, seconds = asyncio.run(burst())

    tell("both probes took", f"{seconds:.3f} s")
    assert [probe.status_code for probe in probes] == [200, 200]
    assert seconds < 2


def test_for_40_clients_that_hang_up_at_most_one_batch_is_computed(server: Server) -> None:
    before = server.metric(FORWARDED)

    async def leave() -> None:
        await together([hang_up_after(server, 0.15, index) for index in range(40)])

    asyncio.run(leave())
    until(lambda: server.metric("segserve_in_flight") == 0)

    assert server.metric(FORWARDED) - before <= MAX_BATCH_SIZE


def test_clients_that_hang_up_in_the_queue_cost_those_that_stay_nothing(server: Server) -> None:
    before = server.metric(FORWARDED)

    async def some_leave() -> list[Answer]:
        staying = [asyncio.create_task(ask(server.url, picture(index))) for index in range(24)]
        await until_more_than(before, server)
        await together([hang_up_after(server, 0.15, index) for index in range(40)])
        return await asyncio.gather(*staying)

    answers = asyncio.run(some_leave())

    assert all(is_own_mask(answer, index) for index, answer in enumerate(answers))
    assert server.metric(FORWARDED) - before == 24


async def hang_up_after(server: Server, seconds: float, index: int) -> None:
    async with connected(server.url) as (_, writer):
        writer.write(request(picture(index)))
        await writer.drain()
        await asyncio.sleep(seconds)  # what the client does, not a wait for something


async def until_more_than(before: float, server: Server) -> None:
    """Wait until an image has come to the idle device."""
    async with asyncio.timeout(20):
        while await asyncio.to_thread(server.metric, FORWARDED) <= before:  # noqa: ASYNC110  # another process
            await asyncio.sleep(0.01)


def batches_larger_than_four(server: Server) -> float:
    smaller = server.metric("segserve_batch_size_bucket", le="4.0")
    return server.metric("segserve_batch_size_count") - smaller
