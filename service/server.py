"""Run the app under uvicorn: bind the port, serve, and stop as an orchestrator expects."""

from __future__ import annotations

import gc
import logging
import math
import os
import socket
import ssl
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import uvicorn

from service import logs
from service.app import create_app
from service.dependencies import services_of
from service.protocol import CarefulProtocol
from service.registry import Registry
from service.settings import BadSetting, Settings, is_loopback

log = logging.getLogger(__name__)

_GRACE = 2.0
"""Time for what is left to do once nobody is answered any more."""
_SWITCH_INTERVAL = 0.0005


class CannotListen(OSError):
    """The address or port cannot be listened on."""


def serve(settings: Settings) -> str | None:
    """Serve until a signal comes; give why it had to stop otherwise, or nothing.

    Raises:
        BadSetting, NoUsableModel: As ``create_app``.
        CannotListen: The port is taken, or not ours to take.
    """
    reasons: list[str] = []

    def give_up(reason: str) -> None:
        reasons.append(reason)
        server.should_exit = True

    app = create_app(settings, give_up=give_up)
    has_tls = check_tls(settings)
    listener = _listen(settings.host, settings.port)
    logs.configure(level=settings.log_level, style=settings.log_format)
    if settings.api_keys is None and settings.api_keys_file is None and not is_loopback(settings.host):
        log.warning(
            "ANYBODY WHO REACHES THIS ADDRESS CAN USE THE SERVICE",
            extra={"host": settings.host, "remedy": "api_keys_file; segserve key makes a key"},
        )
    config = uvicorn.Config(
        app,
        http=CarefulProtocol,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        ssl_certfile=settings.tls_certificate_file,
        ssl_keyfile=settings.tls_key_file,
        limit_concurrency=settings.max_connections + 1,  # uvicorn refuses from this number on
        timeout_graceful_shutdown=math.ceil(settings.shutdown_timeout),
    )
    server = _DrainingServer(config, services_of(app).registry, drain_delay=settings.drain_delay)
    host, port = listener.getsockname()[:2]
    scheme, shown = "https" if has_tls else "http", f"[{host}]" if ":" in host else host
    log.info("listening", extra={"url": f"{scheme}://{shown}:{port}"})
    with _favoured_event_loop():
        server.run(sockets=[listener])
    return reasons[0] if reasons else None


def check_tls(settings: Settings) -> bool:
    """Tell whether the settings ask for TLS, and try its files: uvicorn would begin with them and fail halfway.

    Raises:
        BadSetting: A file is missing, or they are no certificate and its key.
    """
    certificate, key = settings.tls_certificate_file, settings.tls_key_file
    if certificate is None and key is None:
        return False
    if certificate is None or key is None:
        raise BadSetting("bad setting tls_certificate_file, tls_key_file: one is set without the other")
    for name, path in (("tls_certificate_file", certificate), ("tls_key_file", key)):
        try:
            path.read_bytes()
        except OSError as error:
            raise BadSetting(f"bad setting {name}={path}: it cannot be read") from error
    try:
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(certificate, key, password=_no_password)
    except (ssl.SSLError, ValueError) as error:
        what = "they are not a certificate and its key, in PEM, the key not encrypted"
        raise BadSetting(f"bad setting tls_certificate_file={certificate}, tls_key_file={key}: {what}") from error
    return True


def _no_password() -> str:
    raise ValueError  # without this, whoever starts the server would be asked for one on the terminal


class _DrainingServer(uvicorn.Server):
    """Serve on for ``drain_delay`` after a signal, not ready any more; then answer what is in flight and stop.

    The process ends in time even if a thread of it is stuck, or the loop is.
    """

    def __init__(self, config: uvicorn.Config, registry: Registry, *, drain_delay: float) -> None:
        super().__init__(config)
        self._registry = registry
        self._drain_delay = drain_delay
        self._stop_at: float | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002  # uvicorn's signature
        """Begin to drain; a second signal stops at once. The signal is not raised again, so that the exit code is 0."""
        if self._stop_at is None:
            self._stop_at = time.monotonic() + self._drain_delay
            self._registry.drain()
        else:
            self.should_exit = self.force_exit = True
            _end_process_after(_GRACE)

    async def on_tick(self, counter: int) -> bool:
        """Say whether it is time to stop."""
        if self._stop_at is not None and time.monotonic() >= self._stop_at:
            self._registry.close_admission()
            log.info("stopping")
            return True
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Answer what is in flight, close the app, and let the process end soon."""
        _end_process_after((self.config.timeout_graceful_shutdown or 0) + _GRACE)
        await super().shutdown(sockets)


def _end_process_after(seconds: float) -> None:
    """End the process, if it still is there by then: the interpreter waits for its threads for ever."""

    def end() -> None:
        log.critical("a thread is stuck, the process ends without it")
        os._exit(1)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()


@contextmanager
def _favoured_event_loop() -> Iterator[None]:
    """Let no thread, and no search for garbage among the libraries' own objects, keep the event loop waiting."""
    sys.setswitchinterval(_SWITCH_INTERVAL)
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()  # or libraries would take their own objects for leaks when the process ends


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        known = error.errno is not None and error.errno > 0  # a host that cannot be found has a number of its own
        why = os.strerror(error.errno or 0) if known else "no such host"
        raise CannotListen(f"cannot listen on {host}:{port}: {why}") from error
