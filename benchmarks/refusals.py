"""Measure how fast a running service refuses what it has no room for, and that it loses nothing.

Run beside the service, for the client counts, too: ``segserve serve --max-in-flight 24``, then
``python benchmarks/refusals.py http://127.0.0.1:8000 PICTURE.jpg``. Every request of a burst has a connection of its
own. Its latency is the time from its first byte sent to the last byte of its answer.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

TIMEOUT = 120.0
MULTIPART = (
    b'--limit\r\nContent-Disposition: form-data; name="image"; filename="a.jpg"\r\n'
    b"Content-Type: image/jpeg\r\n\r\n%b\r\n--limit--\r\n"
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """Hold the status of an answer (0: the connection was lost), whether it says Retry-After, and its latency."""

    status: int
    says_when: bool
    latency: float


class Exchange(asyncio.Protocol):
    """Send one request that was made beforehand, and wait for the whole of its answer."""

    def __init__(self, request: bytes) -> None:
        self.outcome: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._request = request
        self._answer = bytearray()
        self._sent = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._sent = time.perf_counter()
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        """Look whether the answer is whole."""
        self._answer += data
        head, blank, body = self._answer.partition(b"\r\n\r\n")
        length = re.search(rb"(?i)content-length: (\d+)", head)
        if blank and length is not None and len(body) >= int(length[1]):
            self._finish(int(head[9:12]), says_when=b"retry-after" in head.lower())
            self._transport.close()

    def connection_lost(self, _: Exception | None) -> None:
        """Say so if it was too early."""
        self._finish(0, says_when=False)

    def _finish(self, status: int, *, says_when: bool) -> None:
        if not self.outcome.done():
            self.outcome.set_result(Outcome(status, says_when, time.perf_counter() - self._sent))


def main() -> None:
    """Print for every burst the answers by status, with their latencies."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("picture", type=Path)
    parser.add_argument("--requests", type=int, default=300, help="of a burst, all at once")
    parser.add_argument("--bursts", type=int, default=5)
    parser.add_argument("--form", action="store_true", help="send multipart/form-data, not the bare picture")
    options = parser.parse_args()
    request = build_request(urlsplit(options.url), options.picture.read_bytes(), as_form=options.form)
    for _ in range(options.bursts):
        report(asyncio.run(burst(urlsplit(options.url), request, options.requests)))


def build_request(url: SplitResult, picture: bytes, *, as_form: bool) -> bytes:
    """Give the bytes of one request."""
    body = MULTIPART % picture if as_form else picture
    media_type = "multipart/form-data; boundary=limit" if as_form else "image/jpeg"
    head = f"POST /segment HTTP/1.1\r\nHost: {url.netloc}\r\nContent-Type: {media_type}\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


async def burst(url: SplitResult, request: bytes, size: int) -> list[Outcome]:
    """Send a request ``size`` times at once and give all outcomes."""
    async with asyncio.timeout(TIMEOUT):
        return await asyncio.gather(*(exchange(url, request) for _ in range(size)))


async def exchange(url: SplitResult, request: bytes) -> Outcome:
    """Send a request over a connection of its own."""
    loop = asyncio.get_running_loop()
    _, protocol = await loop.create_connection(lambda: Exchange(request), url.hostname, url.port)
    return await protocol.outcome


def report(outcomes: Sequence[Outcome]) -> None:
    """Print a line for every status."""
    for status in sorted({outcome.status for outcome in outcomes}):
        chosen = [outcome for outcome in outcomes if outcome.status == status]
        latencies = sorted(1000 * outcome.latency for outcome in chosen)
        print(
            f"{status or 'lost'}: {len(chosen)}, {sum(outcome.says_when for outcome in chosen)} with Retry-After, "
            f"median {statistics.median(latencies):.1f} ms, p99 {latencies[int(0.99 * len(latencies))]:.1f} ms"
        )
    print()


if __name__ == "__main__":
    main()
