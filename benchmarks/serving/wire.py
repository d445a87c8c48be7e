"""Write requests and read answers of HTTP/1.1 as bytes, with no more work than a measuring client can afford."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_END_OF_HEAD = b"\r\n\r\n"
_END_OF_LINE = b"\r\n"


@dataclass(frozen=True, slots=True)
class Answer:
    """Hold what a server answered; whether the connection may be used again is the server's word."""

    status: int
    body: bytes
    keeps_alive: bool


class BadAnswer(ValueError):
    """What came is no answer of HTTP/1.1."""


def request_bytes(path: str, headers: Mapping[str, str], body: bytes, *, host: str, method: str = "POST") -> bytes:
    """Write a whole request whose connection stays open."""
    fields = {"Host": host, "Content-Length": str(len(body)), **headers}
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode("latin-1") + body


class AnswerReader:
    """Find the answers in the bytes that one connection receives, whatever the pieces they come in."""

    def __init__(self) -> None:
        self._received = bytearray()
        self._head: _Head | None = None
        self._chunks = bytearray()

    def feed(self, data: bytes) -> Sequence[Answer]:
        """Take what was received and give the answers that are whole now.

        Raises:
            BadAnswer: It is no HTTP/1.1.
        """
        self._received += data
        answers = []
        while (answer := self._take()) is not None:
            answers.append(answer)
        return answers

    def end(self) -> Answer | None:
        """Give the answer that the end of the connection makes whole, if there is one."""
        if self._head is None or self._head.is_chunked or self._head.length is not None:
            return None
        return self._finish(bytes(self._received))

    def _take(self) -> Answer | None:
        if self._head is None:
            end = self._received.find(_END_OF_HEAD)
            if end < 0:
                return None
            head = _read_head(bytes(self._received[:end]))
            del self._received[: end + len(_END_OF_HEAD)]
            if head.status < 200:  # "100 Continue" and such are followed by the answer
                return self._take()
            self._head = head
        if self._head.is_chunked:
            return self._take_chunks()
        if self._head.length is None or len(self._received) < self._head.length:
            return None
        body = bytes(self._received[: self._head.length])
        del self._received[: self._head.length]
        return self._finish(body)

    def _take_chunks(self) -> Answer | None:
        while (end := self._received.find(_END_OF_LINE)) >= 0:
            size = _number(self._received[:end].split(b";")[0], base=16)
            if size == 0:
                return self._take_trailer(end)
            start = end + len(_END_OF_LINE)
            if len(self._received) < start + size + len(_END_OF_LINE):
                return None
            self._chunks += self._received[start : start + size]
            del self._received[: start + size + len(_END_OF_LINE)]
        return None

    def _take_trailer(self, start: int) -> Answer | None:
        """Give the answer once the empty line after the last chunk, and after any trailers, is there."""
        end = self._received.find(_END_OF_HEAD, start)
        if end < 0:
            return None
        del self._received[: end + len(_END_OF_HEAD)]
        body, self._chunks = bytes(self._chunks), bytearray()
        return self._finish(body)

    def _finish(self, body: bytes) -> Answer:
        assert self._head is not None
        head, self._head = self._head, None
        return Answer(head.status, body, head.keeps_alive)


@dataclass(frozen=True, slots=True)
class _Head:
    status: int
    length: int | None
    is_chunked: bool
    keeps_alive: bool


def _read_head(head: bytes) -> _Head:
    first, *lines = head.split(_END_OF_LINE)
    version, _, rest = first.partition(b" ")
    if version not in (b"HTTP/1.1", b"HTTP/1.0"):
        raise BadAnswer(f"no HTTP/1.1 but {first[:40]!r}")
    fields = {name.lower(): value.strip().lower() for name, _, value in (line.partition(b":") for line in lines)}
    status, length = _number(rest[:3]), fields.get(b"content-length")
    has_no_body = status in (204, 304)
    connection = fields.get(b"connection", b"keep-alive" if version == b"HTTP/1.1" else b"close")
    return _Head(
        status,
        0 if has_no_body else None if length is None else _number(length),
        fields.get(b"transfer-encoding") == b"chunked" and not has_no_body,
        connection != b"close",
    )


def _number(text: bytes | bytearray, *, base: int = 10) -> int:
    try:
        return int(text, base)
    except ValueError as error:
        raise BadAnswer(f"no number but {bytes(text[:20])!r}") from error
