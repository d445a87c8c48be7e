"""Wrap every request: its id, its one log line, its metrics, its body's limit, and the last net for errors."""

from __future__ import annotations

import logging
import random
import re
import time
from collections.abc import Callable

from starlette.datastructures import QueryParams
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import BodyTooLarge, QueueFull, ServiceError
from service.keys import KeyRing
from service.logs import request_id
from service.metrics import Metrics
from service.problems import error_response, unexpected_response
from service.tracing import Journey, Recorder

log = logging.getLogger("service.requests")

_SANE_ID = re.compile(r"[!-~]{1,100}")

PROBES = frozenset({"/healthz", "/readyz", "/startupz", "/v2/health/live", "/v2/health/ready"})
"""What orchestrators ask, who have no key."""

_SECURITY_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
)


class RequestRecord:
    """Give each request an id, one log line, its metrics and spans, and answer errors that nobody foresaw with 500."""

    def __init__(self, app: ASGIApp, *, metrics: Metrics, recorder: Recorder | None = None) -> None:
        self._app = app
        self._metrics = metrics
        self._recorder = recorder

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = _header(scope, b"x-request-id")
        current = given if _SANE_ID.fullmatch(given) else _new_id()
        token = request_id.set(current)
        started = time.monotonic()
        status: int | None = None

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                own = (b"x-request-id", current.encode())
                message["headers"] = [*message.get("headers", ()), own, *_SECURITY_HEADERS]
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        except Exception:  # the client hears 500 and its request id, the log hears the rest
            log.exception("unexpected error")
            if status is None:
                await unexpected_response(scope["path"])(scope, receive, send_with_id)
        finally:
            self._record(scope, status, started, current)
            request_id.reset(token)

    def _record(self, scope: Scope, status: int | None, started: float, current: str) -> None:
        ended = time.monotonic()
        seconds = ended - started
        route, state = getattr(scope.get("route"), "path", "unmatched"), scope.get("state", {})
        self._metrics.requests.labels(route, str(status)).inc()
        self._metrics.request_seconds.labels(route).observe(seconds, {"request_id": current})
        if self._recorder is not None:
            headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
            name, stages = f"{scope['method']} {route}", state.get("stages", ())
            self._recorder(Journey(name, current, status, started, ended, headers, stages))
        if "problem" in state:
            self._metrics.problems.labels(state["problem"]).inc()
        log.info(
            "request",
            extra={
                "method": scope["method"],
                "path": scope["path"][:200],
                "status": status,
                "ms": round(1000 * seconds, 1),
                **{name: state[name] for name in ("key", "problem") if name in state},
                **state.get("log_fields", {}),
            },
        )


class KeyCheck:
    """Let in who has a key; probes are open to all, and what needs the admin token asks for that itself."""

    def __init__(self, app: ASGIApp, *, ring: KeyRing) -> None:
        self._app = app
        self._ring = ring

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "http" and not _is_open(scope["method"], scope["path"]):
            try:
                scope.setdefault("state", {})["key"] = self._ring.admit(_key_of(scope))
            except ServiceError as error:
                await error_response(error, scope)(scope, receive, send)
                return
        await self._app(scope, receive, send)


class EarlyRefusal:
    """Refuse what there is no room for before anything else looks at it: a POST to ``path`` that ``check`` refuses.

    ``check`` gets the model that the request names and raises the ``ServiceError`` to answer with.
    """

    def __init__(self, app: ASGIApp, *, path: str, check: Callable[[str | None], None]) -> None:
        self._app = app
        self._check = check
        self.path = path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "http" and scope["path"] == self.path and scope["method"] == "POST":
            try:
                self._check(_model_of(scope["query_string"]))
            except ServiceError as error:
                scope["route"] = self
                await error_response(error, scope)(scope, receive, send)
                return
        await self._app(scope, receive, send)


class BodyLimit:
    """Bound the bytes of bodies: of one by ``max_bytes``, of all together by ``max_pending_bytes``.

    One that is too large is refused to whoever reads it, by its declared length or once it gets there. The bytes of a
    body count until its request is answered. A body that is alone is never refused because of the others.
    """

    def __init__(self, app: ASGIApp, *, max_bytes: int, max_pending_bytes: int) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._max_pending_bytes = max_pending_bytes
        self._num_pending = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        declared = _header(scope, b"content-length")
        num_bytes = 0

        async def receive_counted() -> Message:
            nonlocal num_bytes
            if declared.isdecimal() and int(declared) > self._max_bytes:
                raise BodyTooLarge(f"body is {int(declared)} bytes, at most {self._max_bytes} (max_body_bytes)")
            message = await receive()
            more = len(message.get("body", b""))
            if num_bytes + more > self._max_bytes:
                raise BodyTooLarge(f"body is longer than {self._max_bytes} bytes (max_body_bytes)")
            self._check_pending(num_bytes, more)
            num_bytes += more
            self._num_pending += more
            return message

        try:
            await self._app(scope, receive_counted, send)
        finally:
            self._num_pending -= num_bytes

    def _check_pending(self, own: int, more: int) -> None:
        others = self._num_pending - own
        if more and others and self._num_pending + more > self._max_pending_bytes:
            limit = f"at most {self._max_pending_bytes} in all (max_pending_body_bytes)"
            raise QueueFull(f"the bodies of other requests hold {others} bytes and this one {own + more}, {limit}")


def _new_id() -> str:
    """Give an id that nobody has had; it need not be secret, and the kernel's randomness takes seven times as long."""
    return f"{random.getrandbits(128):032x}"  # nosec B311  # no secret


def _header(scope: Scope, name: bytes) -> str:
    return next((value.decode("latin-1") for key, value in scope["headers"] if key == name), "")


def _is_open(method: str, path: str) -> bool:
    return path in PROBES or (method == "POST" and path.startswith("/models/"))


def _key_of(scope: Scope) -> str | None:
    scheme, _, token = _header(scope, b"authorization").partition(" ")
    if scheme.lower() == "bearer" and token.strip():
        return token.strip()
    return _header(scope, b"x-api-key").strip() or None


def _model_of(query: bytes) -> str | None:
    return QueryParams(query).get("model") if query else None
