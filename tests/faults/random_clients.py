"""Behave as the worst clients do, at random but from a seed."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

from tests.faults.clients import NoAnswer, ask, connected, is_own_mask, picture, read_answer, request, request_head

NUM_CLIENTS = 16

Behaviour = Callable[[str, random.Random], Awaitable[None]]


async def misbehave(url: str, seconds: float, *, seed: int) -> int:
    """Let the clients behave as they like for so long; give how many good requests were answered rightly.

    Raises:
        AssertionError: A good request got no answer of its own.
    """
    end = time.monotonic() + seconds
    async with asyncio.TaskGroup() as group:
        clients = [group.create_task(_live(url, end, random.Random(f"{seed} {n}"))) for n in range(NUM_CLIENTS)]  # noqa: S311  # no secret
    return sum(client.result() for client in clients)


async def _live(url: str, end: float, choices: random.Random) -> int:
    num_good = 0
    while time.monotonic() < end:
        if choices.random() < 0.3:
            await _ask_rightly(url, choices.randrange(500))
            num_good += 1
        else:
            with suppress(ConnectionError):
                await choices.choice(_BEHAVIOURS)(url, choices)
    return num_good


async def _ask_rightly(url: str, index: int) -> None:
    answer = await ask(url, picture(index))
    assert answer.status == 200, f"a good request was answered {answer.status}: {answer.content!r}"
    assert is_own_mask(answer, index), "a good request was answered another one's mask"


async def _send(url: str, content: bytes, *, stay: float) -> None:
    """Send something, listen for a while, and hang up."""
    async with connected(url) as (reader, writer):
        writer.write(content)
        with suppress(TimeoutError):
            async with asyncio.timeout(stay):
                await reader.read()


async def _stop_halfway(url: str, choices: random.Random) -> None:
    whole = request(picture(1))
    await _send(url, whole[: choices.randrange(len(whole))], stay=choices.uniform(0, 0.3))


async def _hang_up_after_asking(url: str, choices: random.Random) -> None:
    await _send(url, request(picture(1)), stay=choices.uniform(0, 0.02))


async def _send_rubbish_head(url: str, choices: random.Random) -> None:
    await _send(url, choices.randbytes(choices.randrange(1, 2000)) + b"\r\n\r\n", stay=0.2)


async def _send_rubbish_body(url: str, choices: random.Random) -> None:
    content = choices.randbytes(choices.randrange(5000))
    await _expect(url, request(content, Content_Type=choices.choice(_CONTENT_TYPES)), {415, 422})


async def _send_wrong_length(url: str, choices: random.Random) -> None:
    length = choices.choice(["-1", "1e3", "", "99999999999999999999", "7", "2, 3", "\xb2"])
    await _send(url, request(picture(1), Content_Length=length), stay=0.2)


async def _send_broken_chunks(url: str, choices: random.Random) -> None:
    head = request_head(0, Transfer_Encoding="chunked").replace(b"Content-Length: 0\r\n", b"")
    chunks = choices.choice(
        [b"zz\r\n", b"5\r\nabc", b"-1\r\n\r\n", b"ffffffffffffffffff\r\nx", b"3\r\nabcdef\r\n0\r\n\r\n"]
    )
    await _send(url, head + chunks, stay=0.2)


async def _send_huge_head(url: str, choices: random.Random) -> None:
    await _send(url, request(picture(1), X_Filler="x" * choices.randrange(1000, 200_000)), stay=0.5)


async def _ask_twice_at_once(url: str, _: random.Random) -> None:
    await _send(url, request(picture(1), Connection="keep-alive") * 2, stay=0.1)


async def _ask_elsewhere(url: str, choices: random.Random) -> None:
    line = choices.choice([b"PUT /segment", b"POST /models", b"GET /%00%ff/../x", b"OPTIONS *", b"HEAD /readyz"])
    await _expect(url, request(b"").replace(b"POST /segment", line, 1), {200, 400, 403, 404, 405})


async def _expect(url: str, content: bytes, statuses: set[int]) -> None:
    async with asyncio.timeout(20), connected(url) as (reader, writer):
        writer.write(content)
        with suppress(NoAnswer):
            answer = await read_answer(reader, time.monotonic())
            assert answer.status in statuses, f"{answer.status} to {content[:300]!r}"


_CONTENT_TYPES = ["image/png", "image/jpeg", "text/plain", "multipart/form-data; boundary=x", "multipart/form-data", ""]
_BEHAVIOURS: list[Behaviour] = [
    _stop_halfway,
    _hang_up_after_asking,
    _send_rubbish_head,
    _send_rubbish_body,
    _send_wrong_length,
    _send_broken_chunks,
    _send_huge_head,
    _ask_twice_at_once,
    _ask_elsewhere,
]
