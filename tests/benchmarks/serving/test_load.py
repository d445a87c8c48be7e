"""Let the client ask small real servers, and hold its counts against what they did."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from itertools import pairwise
from pathlib import Path

import pytest

from benchmarks.serving.load import Client, Found, Plan, Sample, Window, found, percentile, poisson_times, run
from benchmarks.serving.trivial import PNG, Trivial
from benchmarks.serving.wire import request_bytes

Handler = Callable[[int, asyncio.StreamWriter], Awaitable[None]]
"""Answers the request of this number."""

WHOLE = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(PNG) + PNG

WHOLE_AND_IN_PIECES = (
    [b"GET / HTTP/1.1\r\n\r\n"],
    [b"POST / HTTP/1.1\r\nContent-Le", b"ngth: 9\r\n\r\nabc", b"def", b"ghi"],
)


@asynccontextmanager
async def answering(handler: Handler, *, wanted: int = 0) -> AsyncIterator[int]:
    """Give the port, any or the wanted one, of a server that counts its requests."""
    count = 0
    talks: set[asyncio.Task[None]] = set()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal count
        try:
            while not writer.is_closing():
                await reader.readuntil(b"\r\n\r\n")
                await reader.readexactly(3)
                count += 1
                await handler(count, writer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client has gone
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    def start(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        talks.add(asyncio.get_running_loop().create_task(talk(reader, writer)))

    server = await asyncio.start_server(start, "127.0.0.1", wanted)
    async with server:
        yield server.sockets[0].getsockname()[1]
        for task in talks:
            task.cancel()
        await asyncio.gather(*talks, return_exceptions=True)


async def answer(_: int, writer: asyncio.StreamWriter) -> None:
    writer.write(WHOLE)


async def answer_in_chunks(_: int, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n" % len(PNG) + PNG[:5])
    await asyncio.sleep(0.001)
    writer.write(PNG[5:] + b"\r\n0\r\n\r\n")


async def hang_up_on_every_third(number: int, writer: asyncio.StreamWriter) -> None:
    if number % 3:
        writer.write(WHOLE)
    else:
        writer.write(WHOLE[:30])
        writer.close()


async def close_politely(_: int, writer: asyncio.StreamWriter) -> None:
    writer.write(WHOLE.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1))
    writer.close()


async def refuse(_: int, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy")


async def answer_with_a_word(_: int, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nmask")


async def never_answer(_: int, writer: asyncio.StreamWriter) -> None:
    del writer
    await asyncio.sleep(3600)


async def be_slow_at_first(number: int, writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(0.25 if number == 1 else 0)
    writer.write(WHOLE)


@pytest.fixture
def requests(tmp_path: Path) -> list[str]:
    """Write a request, as the client is given them."""
    path = tmp_path / "request"
    path.write_bytes(request_bytes("/", {}, b"abc", host="here"))
    return [str(path)]


def measured(handler: Handler, requests: list[str], *, clients: int | None = 2, rate: float | None = None) -> Found:
    """Ask a server for a moment."""

    async def ask() -> Found:
        async with answering(handler) as port:
            plan = Plan(
                port, requests, clients, rate, warm_up=0.02, seconds=0.15, most_seconds=0.4, patience=0.1, seed=1
            )
            return await run(plan)

    return asyncio.run(ask())


@pytest.mark.parametrize("handler", [answer, answer_in_chunks])
def test_clients_ask_one_after_the_other_over_connections_that_are_kept(handler: Handler, requests: list[str]) -> None:
    seen = measured(handler, requests, clients=3)

    assert seen.failures == {}
    assert seen.connections == 3
    assert seen.answered >= 3
    assert seen.images_per_second == pytest.approx(seen.answered / seen.seconds)
    assert seen.p50 is not None
    assert seen.slowest is not None
    assert 0 < seen.p50 <= seen.slowest < 0.5


def test_a_connection_that_the_server_closes_politely_is_made_anew(requests: list[str]) -> None:
    seen = measured(close_politely, requests)

    assert seen.failures == {}
    assert seen.connections > 2


def test_broken_connections_are_counted_and_made_anew(requests: list[str]) -> None:
    seen = measured(hang_up_on_every_third, requests, clients=1)

    assert list(seen.failures) == ["connection lost"]
    assert seen.answered > seen.failures["connection lost"] > 0
    assert seen.p50 is not None
    assert seen.p99 is None  # as slow as can be


def test_how_long_those_waited_that_were_answered_is_told_whatever_else_fails(requests: list[str]) -> None:
    seen = measured(hang_up_on_every_third, requests, clients=1)

    assert seen.p99 is None
    assert seen.answered_p50 is not None
    assert seen.answered_p99 is not None
    assert 0 < seen.answered_p50 <= seen.answered_p99 < 0.5


def test_several_servers_are_asked_in_turn(requests: list[str]) -> None:
    async def ask() -> list[str | None]:
        async with answering(answer) as port, answering(refuse, wanted=port + 1):
            client = Client(Plan(port, requests, num_ports=2))
            return [(await client.start(0.0)).failure for _ in range(4)]

    assert asyncio.run(ask()) == [None, "status 503", None, "status 503"]


@pytest.mark.parametrize(
    ("handler", "failure"), [(refuse, "status 503"), (answer_with_a_word, "no PNG"), (never_answer, "no answer")]
)
def test_whatever_is_no_mask_is_a_failure(handler: Handler, failure: str, requests: list[str]) -> None:
    seen = measured(handler, requests)

    assert list(seen.failures) == [failure]
    assert seen.answered == 0
    assert seen.p50 is None


def test_a_server_that_is_not_there_answers_nothing(requests: list[str]) -> None:
    plan = Plan(9, requests, rate=100, warm_up=0.0, seconds=0.1, patience=0.1)

    seen = asyncio.run(run(plan))

    assert seen.answered == 0
    assert sum(seen.failures.values()) == len(poisson_times(100, 0.1, plan.seed))


def test_pictures_come_at_the_times_that_were_drawn_whatever_the_server_does(requests: list[str]) -> None:
    seen = measured(be_slow_at_first, requests, clients=None, rate=200)

    due = [time for time in poisson_times(200, 0.17, seed=1) if time >= 0.02]
    assert seen.connections > 1  # nobody waited for the first answer
    assert sum(seen.failures.values()) == 0
    assert abs(seen.answered - len(due)) <= 1 + seen.connections


def test_latency_counts_from_the_time_that_was_meant(requests: list[str]) -> None:
    async def ask() -> Sample:
        async with answering(answer) as port:
            client = Client(Plan(port, requests))
            sample = await client.start(asyncio.get_running_loop().time() - 5)
            await client.finish(0)
            return sample

    sample = asyncio.run(ask())

    assert sample.failure is None
    assert sample.ended - sample.due > 5
    assert sample.ended - sample.sent < 5


def test_only_what_falls_into_the_window_counts() -> None:
    window = Window(times=[10.0, 12.0], cpu=[1.0, 4.0], own_cpu=[0.5, 0.6])
    samples = [
        Sample(due=8.0, sent=8.0, ended=9.9, failure=None),
        Sample(due=9.9, sent=9.9, ended=10.5, failure=None),
        Sample(due=10.5, sent=10.6, ended=11.0, failure=None),
        Sample(due=11.0, sent=11.0, ended=11.5, failure="status 503"),
        Sample(due=11.9, sent=11.9, ended=12.4, failure=None),
        Sample(due=11.95, sent=11.95),
    ]

    closed = found(samples, window, by_due_time=False, connections=1)
    opened = found(samples, window, by_due_time=True, connections=1)

    assert (closed.answered, closed.images_per_second, closed.cpu_seconds) == (2, 1.0, 3.0)
    assert closed.failures == {"status 503": 1, "no answer": 1}
    assert closed.p50 == pytest.approx(0.6)
    assert opened.failures == {"status 503": 1, "no answer": 1}
    assert opened.p50 == pytest.approx(0.5)
    assert opened.p99 is None
    assert opened.lateness == pytest.approx(0.1)


def test_drawn_times_are_those_of_a_poisson_process() -> None:
    times = poisson_times(50, 400, seed=3)

    gaps = [after - before for before, after in pairwise(times)]
    mean = sum(gaps) / len(gaps)
    deviation = math.sqrt(sum((gap - mean) ** 2 for gap in gaps) / len(gaps))
    counts = [sum(second <= time < second + 1 for time in times) for second in range(0, 400, 40)]
    assert times == poisson_times(50, 400, seed=3) != poisson_times(50, 400, seed=4)
    assert 0 <= min(times) <= max(times) < 400
    assert mean == pytest.approx(1 / 50, rel=0.05)
    assert deviation == pytest.approx(mean, rel=0.05)  # as of gaps that know nothing of each other
    assert sum(gap > 2 * mean for gap in gaps) / len(gaps) == pytest.approx(math.exp(-2), rel=0.1)
    assert 25 < min(counts) < max(counts) < 80


def test_percentiles_are_values_that_were_seen() -> None:
    values = [float(value) for value in range(1, 101)]

    assert (percentile(values, 50), percentile(values, 99), percentile(values, 100)) == (50, 99, 100)
    assert percentile([*values[:98], math.inf, math.inf], 99) is None
    assert percentile([*values[:99], math.inf], 99) == 99
    assert percentile([], 50) is None


def test_the_server_that_does_no_work_counts_bytes_in_any_pieces() -> None:
    async def ask() -> list[bytes]:
        server = await asyncio.get_running_loop().create_server(Trivial, "127.0.0.1", 0)
        async with server:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            answers = []
            for pieces in WHOLE_AND_IN_PIECES:
                for piece in pieces:
                    writer.write(piece)
                    await writer.drain()
                    await asyncio.sleep(0.005)
                answers.append(await reader.readuntil(PNG))
            writer.close()
            await writer.wait_closed()
            return answers

    first, second = asyncio.run(ask())

    assert first == second
    assert first.endswith(PNG)
