"""Speak HTTP with clients that are slow, broken, too many or half gone, where uvicorn would wait or hang up on them."""

from __future__ import annotations

import asyncio
import logging
from http import HTTPStatus
from typing import Any

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from service.errors import BrokenRequest, HeadTooLarge, HeadTooSlow, ServiceError, TooManyConnections
from service.problems import problem_response
from service.transport import CarefulTransport

log = logging.getLogger(__name__)

MAX_HEAD_BYTES = 64 << 10
_LATE_BODY_TIMEOUT = 10.0
_READ_PATIENCE, _LEAST_READ = 10.0, 1 << 16
"""A client has to take so many bytes of its answer in so many seconds."""
_GONE_CHECK_INTERVAL = 0.05
_PROBES = frozenset({b"/healthz", b"/readyz", b"/startupz"})
"""Answered on however many connections, or slow clients could have a healthy process replaced."""
_FRAMING = frozenset({b"content-length", b"transfer-encoding"})


class CarefulProtocol(HttpToolsProtocol):
    """Serve one connection.

    The head of every request has to arrive within the time for which an idle connection is kept, and the rest of a
    body that is answered already in a time of its own. A client that ends only its own half gets its answer.
    """

    transport: CarefulTransport

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._max_connections = self.limit_concurrency
        self.limit_concurrency = None  # uvicorn would refuse in plain text
        self._is_deaf = False
        self._num_unparsed = 0
        self._timer: asyncio.TimerHandle | None = None
        self._stuck: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        """Wait for the first head."""
        super().connection_made(CarefulTransport(transport))
        self._expect_more_within(self.timeout_keep_alive)

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing any more."""
        self._note_progress()
        if self._stuck is not None:
            self._stuck.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read on; what cannot be read, or is too much, is answered here."""
        if self._is_deaf or self.transport.is_closing():
            return
        self._unset_keepalive_if_required()
        self._num_unparsed += len(data)
        try:
            self.parser.feed_data(data)
            if self._num_unparsed > MAX_HEAD_BYTES:
                raise _head_too_large()
        except ServiceError as error:
            self._refuse(error)
        except httptools.HttpParserError as error:
            cause = error.__context__
            self._refuse(cause if isinstance(cause, ServiceError) else BrokenRequest("this cannot be read as HTTP/1.1"))
        except httptools.HttpParserUpgrade as upgrade:
            self._read_on_as_before(data[upgrade.args[0] :])
            return
        if not self._is_answering and self._timer is None and self.timeout_keep_alive_task is None:
            self._expect_more_within(_LATE_BODY_TIMEOUT if self.transport.is_amid_request else self.timeout_keep_alive)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header, but none that follows a body."""
        if not self.transport.is_amid_request:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Begin to answer, or raise why not."""
        if self.transport.is_amid_request:  # see _read_on_as_before
            return
        if len(self.url) + sum(len(name) + len(value) for name, value in self.headers) > MAX_HEAD_BYTES:
            raise _head_too_large()
        if self.parser.get_http_version() == "1.1" and [name for name, _ in self.headers].count(b"host") != 1:
            raise BrokenRequest("a request of HTTP/1.1 has one Host header")
        if self._is_one_too_many and self.url.partition(b"?")[0] not in _PROBES:
            raise TooManyConnections(
                f"more than {(self._max_connections or 1) - 1} connections are open (max_connections)"
            )
        self._note_progress()
        self._unset_keepalive_if_required()
        super().on_headers_complete()
        self.transport.is_amid_request = True
        if self.expect_100_continue:  # only its client knows whether the body comes if it is never asked for
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        """Take a piece of a body."""
        self._num_unparsed = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Wait for the next head."""
        if self.parser.should_upgrade():  # see _read_on_as_before
            return
        self._note_progress()
        self.transport.is_amid_request = False
        super().on_message_complete()
        if not self._is_answering:
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def pause_writing(self) -> None:
        """Give up a client that takes nothing of its answer for a while."""
        super().pause_writing()
        self._expect_less_than(self.transport.get_write_buffer_size())

    def resume_writing(self) -> None:
        """Go on: the client has taken nearly all."""
        super().resume_writing()
        if self._stuck is not None:
            self._stuck.cancel()
            self._stuck = None

    def _expect_less_than(self, num_bytes: int) -> None:
        self._stuck = self.loop.call_later(_READ_PATIENCE, self._look_whether_less, num_bytes)

    def _look_whether_less(self, num_bytes: int) -> None:
        left = self.transport.get_write_buffer_size()
        if left > num_bytes - _LEAST_READ:
            self.transport.abort()
        else:
            self._expect_less_than(left)

    def eof_received(self) -> bool:  # type: ignore[override]  # uvicorn's tells nothing
        """Say whether the connection stays: while a whole request waits for its answer."""
        if self.transport.is_closing() or self.transport.is_amid_request or not self._is_answering:
            return False
        if not self.transport.can_write_eof():
            return False
        if not self.pipeline and not self.cycle.response_started:
            self.transport.begin_answer()
            self.loop.call_later(_GONE_CHECK_INTERVAL, self._leave_if_refused)
        self._answer_the_last()
        return True

    @property
    def _is_one_too_many(self) -> bool:
        return self._max_connections is not None and len(self.connections) >= self._max_connections

    @property
    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _note_progress(self) -> None:
        self._num_unparsed = 0
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _expect_more_within(self, seconds: float) -> None:
        self._timer = self.loop.call_later(seconds, self._on_silence)

    def _on_silence(self) -> None:
        self._timer = None
        if self._num_unparsed:
            self._refuse(HeadTooSlow(f"the head had not arrived in full after {self.timeout_keep_alive:g} s"))
        else:
            self.transport.abort()

    def _refuse(self, error: ServiceError) -> None:
        log.info("refused to read on", extra={"problem": error.slug, "client": self.client and self.client[0]})
        if self._is_answering and not self.transport.is_amid_request:
            self._answer_the_last()
            return
        if self._is_answering:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if not self._is_answering or not self.cycle.response_started:
            self.transport.write(self._problem(error))
        self.transport.linger()

    def _read_on_as_before(self, data: bytes) -> None:
        """Pass over the wish for another protocol, after which the parser takes a request's body for that protocol's.

        A new parser is given as much of the head as says how long the body is.
        """
        framing = [header for header in self.cycle.scope["headers"] if header[0] in _FRAMING]
        self.parser = httptools.HttpRequestParser(self)
        self.parser.feed_data(b"\r\n".join([b"POST / HTTP/1.1", *map(b"%b: %b".__mod__, framing), b"", b""]))
        if data:
            self.data_received(data)

    def _answer_the_last(self) -> None:
        """Listen no more, and close after the answer to what has come in full."""
        self._is_deaf = True
        self.cycle.keep_alive = False

    def _leave_if_refused(self) -> None:
        if self.transport.is_closing():
            return
        if self.transport.is_refused():
            self.transport.abort()
        else:
            self.loop.call_later(_GONE_CHECK_INTERVAL, self._leave_if_refused)

    def _problem(self, error: ServiceError) -> bytes:
        """Give a whole answer."""
        response = problem_response(error)
        headers = [*self.server_state.default_headers, *response.raw_headers, (b"connection", b"close")]
        lines = [b"HTTP/1.1 %d %b" % (error.status, HTTPStatus(error.status).phrase.encode())]
        lines += [b"%b: %b" % header for header in headers]
        return b"\r\n".join([*lines, b"", bytes(response.body)])


def _head_too_large() -> HeadTooLarge:
    return HeadTooLarge(f"the head is longer than {MAX_HEAD_BYTES} bytes")
