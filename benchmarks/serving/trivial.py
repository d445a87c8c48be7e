"""Answer everything with the same small PNG: a server that does no work, to see what the client can do at most.

Run: ``python -m benchmarks.serving.trivial PORT``.
"""

from __future__ import annotations

import asyncio
import re
import sys
from base64 import b64decode
from collections.abc import Sequence

PNG = b64decode("iVBORw0KGgoAAAANSUhEUgAAABAAAAAQCAAAAAA6mKC9AAAADUlEQVR4nGNgGAXIAAABEAABoJMRpQAAAABJRU5ErkJggg==")

_END_OF_HEAD = b"\r\n\r\n"
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nContent-Length: %d\r\n\r\n" % len(PNG) + PNG


class Trivial(asyncio.Protocol):
    """Count the bytes of each request, and answer once they are all there."""

    def __init__(self) -> None:
        self._received = bytearray()
        self._missing = 0
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way back."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer the requests that are whole now."""
        assert self._transport is not None
        if self._missing > len(data):
            self._missing -= len(data)
            return
        if self._missing:
            data, self._missing = data[self._missing :], 0
            self._transport.write(_ANSWER)
        self._received += data
        while (end := self._received.find(_END_OF_HEAD)) >= 0:
            length = _LENGTH.search(self._received, 0, end)
            whole = end + len(_END_OF_HEAD) + (int(length[1]) if length else 0)
            if whole > len(self._received):
                self._missing = whole - len(self._received)
                self._received.clear()
                return
            del self._received[:whole]
            self._transport.write(_ANSWER)


async def serve(port: int) -> None:
    """Answer until cancelled."""
    server = await asyncio.get_running_loop().create_server(Trivial, "127.0.0.1", port)
    await server.serve_forever()


def main(words: Sequence[str]) -> None:
    """Serve on the port that is named."""
    asyncio.run(serve(int(words[0])))


if __name__ == "__main__":
    main(sys.argv[1:])
