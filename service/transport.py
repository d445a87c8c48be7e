"""Write to a connection in few packets, and close it so that the last answer gets through."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

LINGER = 5.0
_WRITE_TIMEOUT = 60.0
_FIRST_BYTES = b"HTTP/1.1 "


class CarefulTransport(asyncio.Transport):
    """Wrap a connection's transport; ``is_amid_request`` says whether its client is in the course of sending."""

    def __init__(self, transport: asyncio.Transport) -> None:
        super().__init__()
        self.is_amid_request = False
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        self._head: bytes | None = None
        self._has_begun = False
        self._is_lingering = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Write, but let the head of an answer wait for its body: one packet is cheaper than two."""
        if self._head is None and data[:9] == _FIRST_BYTES:
            self._head = bytes(data[9:] if self._has_begun else data)
            self._has_begun = False
            self._loop.call_soon(self._flush)
        elif self._head is not None:
            head, self._head = self._head, None
            self._transport.write(head + data)
        else:
            self._transport.write(data)

    def begin_answer(self) -> None:
        """Write what every answer begins with: it shows whether the other side still listens (see ``is_refused``)."""
        self._transport.write(_FIRST_BYTES)
        self._has_begun = True

    def can_write_eof(self) -> bool:
        """Tell whether one half can be closed alone; over TLS it cannot."""
        return self._transport.can_write_eof()

    def is_refused(self) -> bool:
        """Tell whether the other side has sent back what was written."""
        return bool(self.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))

    def close(self) -> None:
        """Close once all is written; a client that does not take it in time loses it."""
        if self.is_amid_request:
            self.linger()
            return
        if self._transport.is_closing():
            return
        self._flush()
        self._transport.close()
        if self._transport.get_write_buffer_size():
            self._loop.call_later(_WRITE_TIMEOUT, self._transport.abort)

    def linger(self) -> None:
        """End this half and close after the client's: to close while it sends may cost it the answer."""
        if self.is_closing():
            return
        self._flush()
        self._is_lingering = True
        if self._transport.can_write_eof():  # not over TLS; there the answer's length says where it ends
            self._transport.write_eof()
        self._transport.resume_reading()
        self._loop.call_later(LINGER, self._transport.abort)

    def abort(self) -> None:
        """Close at once."""
        self._head = None
        self._transport.abort()

    def is_closing(self) -> bool:
        """Tell whether nothing more can be written."""
        return self._is_lingering or self._transport.is_closing()

    def get_extra_info(self, name: str, default: Any = None) -> Any:  # noqa: ANN401  # as asyncio's
        """Tell about the connection."""
        return self._transport.get_extra_info(name, default)

    def get_write_buffer_size(self) -> int:
        """Tell how much is written and not taken yet."""
        return self._transport.get_write_buffer_size()

    def pause_reading(self) -> None:
        """Take no more data."""
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Take data again."""
        self._transport.resume_reading()

    def _flush(self) -> None:
        if self._head is not None:
            head, self._head = self._head, None
            self._transport.write(head)
