"""Clients that send a byte now and then, for as long as they are let."""

import asyncio
from contextlib import AsyncExitStack, suppress

from tests.faults.clients import Answer, ask, connected, is_own_mask, picture, request, request_head
from tests.faults.server import Server, until

NUM_SLOW = 200
NUM_GOOD = 60
PAUSE = 0.3
"""Seconds between two bytes of a slow client."""


def test_good_clients_are_served_beside_200_slow_ones_which_are_closed_in_the_end(ordinary: Server) -> None:
    answers, num_left_open = asyncio.run(serve_beside_slow_clients(ordinary))

    assert [answer.status for answer in answers] == [200] * NUM_GOOD
    assert all(is_own_mask(answer, index) for index, answer in enumerate(answers))
    assert num_left_open == 0


async def serve_beside_slow_clients(server: Server) -> tuple[list[Answer], int]:
    """Give the answers of good clients, and how many slow ones are still connected in the end."""
    files = server.num_files()
    async with AsyncExitStack() as stack:
        slow = []
        for index in range(NUM_SLOW):
            reader, writer = await stack.enter_async_context(connected(server.url))
            start = request_head(100_000) if index % 2 else request(picture(index))[: 20 + index // 5]
            slow.append((reader, asyncio.create_task(dribble(writer, start))))
        await asyncio.to_thread(until, lambda: server.num_files() >= files + NUM_SLOW // 2)
        answers = [await ask(server.url, picture(index)) for index in range(NUM_GOOD)]
        closed = await asyncio.gather(*(is_closed(reader) for reader, _ in slow))
        for _, dribbling in slow:
            dribbling.cancel()
    return answers, closed.count(False)


async def dribble(writer: asyncio.StreamWriter, start: bytes) -> None:
    writer.write(start)
    with suppress(OSError):
        while True:
            await asyncio.sleep(PAUSE)  # what the client does, not a wait for something
            writer.write(b"x")
            await writer.drain()


async def is_closed(reader: asyncio.StreamReader) -> bool:
    """Wait for the server to close a connection; tell whether it has."""
    try:
        async with asyncio.timeout(20):
            await reader.read()
    except TimeoutError:
        return False
    except ConnectionError:
        return True
    return True
