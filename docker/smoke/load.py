"""Send photos without a pause and count what becomes of each request, by phase: the load of docker/smoke.sh.

python load.py URL PICTURE [PICTURE ...] --clients 6 --requests FILE

A line on standard input names the phase that begins, an empty one lets the clients rest; at the end of the input what
is still in flight is waited for. FILE gets a line of JSON for every request, and one for every phase that began. It
needs nothing but Python.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from typing import TextIO
from urllib.parse import urlsplit

_PATIENCE = 60.0
_PNG = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a request; ``status`` is 0 where no whole answer came."""

    phase: str
    start: float
    seconds: float
    status: int
    problem: str
    request_id: str
    version: str


class Load:
    """Keep a number of clients asking, and write down what became of every request."""

    def __init__(self, url: str, pictures: list[bytes], record: TextIO) -> None:
        parts = urlsplit(url)
        self._host, self._port, self._target = parts.hostname or "127.0.0.1", parts.port or 80, parts.path or "/"
        self._pictures = pictures
        self._record = record
        self._numbers = count()
        self._phase = ""

    def begin(self, phase: str) -> None:
        """Count what is asked from now on to another phase; ask nothing where it has no name."""
        self._phase = phase
        self._record.write(json.dumps({"phase": phase, "begins": time.time()}) + "\n")

    async def ask_until(self, end: asyncio.Event) -> None:
        """Ask again and again, on one connection as long as it is kept."""
        connection: Connection | None = None
        while not end.is_set():
            if not self._phase:
                await asyncio.sleep(0.01)
                continue
            connection = await self._ask_once(connection)
        if connection is not None:
            connection.close()

    async def _ask_once(self, connection: Connection | None) -> Connection | None:
        phase, start, began = self._phase, time.time(), time.perf_counter()
        number = next(self._numbers)
        picture, request_id = self._pictures[number % len(self._pictures)], f"load-{number}"
        status, problem, version = 0, "", ""
        try:
            async with asyncio.timeout(_PATIENCE):
                connection = connection or await Connection.open(self._host, self._port)
                status, headers, body = await connection.post(self._target, picture, request_id)
            version = headers.get("x-model-version", "")
            if status != 200:
                problem = body[:300].decode(errors="replace")
            elif not body.startswith(_PNG):
                problem = "the answer is no PNG"
            if headers.get("connection", "").lower() == "close":
                connection.close()
                connection = None
        except (OSError, EOFError, ValueError, TimeoutError) as error:
            problem = f"{type(error).__name__}: {error}"
            if connection is not None:
                connection.close()
            connection = None
        # What ends in the next phase is counted there: it is that phase's disturbance that it met.
        phase = self._phase or phase
        outcome = Outcome(phase, start, time.perf_counter() - began, status, problem, request_id, version)
        self._record.write(json.dumps(asdict(outcome)) + "\n")
        if status != 200:
            await asyncio.sleep(0.1)
        return connection


class Connection:
    """A connection that speaks as much HTTP/1.1 as is needed here."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, host: str, port: int) -> Connection:
        """Connect."""
        return cls(*await asyncio.open_connection(host, port))

    async def post(self, target: str, body: bytes, request_id: str) -> tuple[int, dict[str, str], bytes]:
        """Send a picture; give the status, the headers and the body of the answer."""
        head = f"POST {target} HTTP/1.1\r\nHost: load\r\nX-Request-ID: {request_id}\r\nContent-Type: image/jpeg\r\n"
        head += f"Content-Length: {len(body)}\r\n\r\n"
        self._writer.write(head.encode() + body)
        await self._writer.drain()
        status = int((await self._line()).split()[1])
        headers = {name.strip().lower(): value.strip() async for name, value in self._headers()}
        answer = await self._reader.readexactly(int(headers.get("content-length", "0")))
        return status, headers, answer

    def close(self) -> None:
        """Hang up."""
        self._writer.close()

    async def _line(self) -> str:
        line = await self._reader.readline()
        if not line.endswith(b"\r\n"):
            raise EOFError("the connection ended")
        return line[:-2].decode("latin-1")

    async def _headers(self) -> AsyncIterator[tuple[str, str]]:
        while line := await self._line():
            name, _, value = line.partition(":")
            yield name, value


async def run(load: Load, *, num_clients: int) -> None:
    """Keep the clients asking while phases are named."""
    end = asyncio.Event()
    async with asyncio.TaskGroup() as clients:
        for _ in range(num_clients):
            clients.create_task(load.ask_until(end))
        loop = asyncio.get_running_loop()
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            load.begin(line.strip())
        end.set()


def main() -> None:
    """Do as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("url")
    parser.add_argument("pictures", nargs="+", type=Path)
    parser.add_argument("--clients", type=int, default=6)
    parser.add_argument("--requests", type=Path, required=True)
    options = parser.parse_args()
    with options.requests.open("w", buffering=1) as record:
        load = Load(options.url, [picture.read_bytes() for picture in options.pictures], record)
        asyncio.run(run(load, num_clients=options.clients))


if __name__ == "__main__":
    main()
