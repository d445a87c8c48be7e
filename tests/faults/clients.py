"""Talk HTTP over bare sockets, as clients do that libraries keep us from being."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from io import BytesIO
from typing import TypeVar
from urllib.parse import urlsplit

from PIL import Image

from tests.service.fakes import plain_image

T = TypeVar("T")

NUM_REDS = 250
"""How many images differ by their red alone; the served model has a class for each."""

MAGENTA = Image.new("RGB", (40, 30), (255, 0, 255))


@dataclass(frozen=True, slots=True)
class Answer:
    """Hold what a server answered, and how long that took."""

    status: int
    headers: Mapping[str, str]
    content: bytes
    seconds: float


class NoAnswer(ConnectionError):
    """The connection ended without an answer, or with a part of one."""


def picture(index: int) -> bytes:
    """Make a small image that has its very own mask."""
    return plain_image(index % NUM_REDS, size=(40 + index // NUM_REDS, 30))


def is_own_mask(answer: Answer, index: int) -> bool:
    """Tell whether an answer is the mask of ``picture(index)``."""
    mask = Image.open(BytesIO(answer.content))
    return mask.size == (40 + index // NUM_REDS, 30) and mask.getextrema() == (index % NUM_REDS, index % NUM_REDS)


def request(content: bytes, *, path: str = "/segment", **headers: str) -> bytes:
    """Write a whole request for a mask, after which the server closes the connection."""
    return request_head(len(content), path=path, **headers) + content


def request_head(length: int, *, path: str = "/segment", **headers: str) -> bytes:
    """Write the head of a request for a mask."""
    fields = {"Host": "test", "Content-Type": "image/png", "Content-Length": str(length), "Connection": "close"}
    fields.update({name.replace("_", "-"): value for name, value in headers.items()})
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"POST {path} HTTP/1.1\r\n{lines}\r\n".encode("latin-1")


async def ask(url: str, content: bytes, *, patience: float = 60, path: str = "/segment", **headers: str) -> Answer:
    """Ask for a mask on a connection of its own.

    Raises:
        NoAnswer: The connection ended without one.
    """
    started = time.monotonic()
    async with asyncio.timeout(patience), connected(url) as (reader, writer):
        writer.write(request(content, path=path, **headers))
        return await read_answer(reader, started)


async def read_answer(reader: asyncio.StreamReader, started: float) -> Answer:
    """Read an answer up to the end of the connection."""
    try:
        received = await reader.read()
    except ConnectionError as error:
        raise NoAnswer("the connection was reset") from error
    seconds = time.monotonic() - started
    head, _, content = received.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 "):
        raise NoAnswer(f"no answer but {received[:100]!r}")
    status_line, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    if len(content) != int(headers.get("content-length", len(content))):
        raise NoAnswer(f"{len(content)} bytes of {headers['content-length']}")
    return Answer(int(status_line.split()[1]), headers, content, seconds)


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Open a connection; hang up in the end."""
    address = urlsplit(url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()
        with suppress(OSError):
            await writer.wait_closed()


async def together(work: Sequence[Coroutine[object, object, T]]) -> list[T]:
    """Do all of it at once and give the results in order."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one) for one in work]
    return [task.result() for task in tasks]
