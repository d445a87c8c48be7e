"""Stop the real process while it has work that does not end."""

import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import Popen
from urllib.parse import urlsplit

import httpx
import pytest

from tests.service.fakes import plain_image
from tests.service.test_main import PNG, connect, serving, wait_until

NEVER = ("--loading", "lazy", "--runtime", "null", "--null-batch-seconds", "60")


@contextmanager
def stuck(checkpoints: Path, *arguments: str) -> Iterator[tuple[Popen[str], socket.socket]]:
    """Run a service whose device works for a minute, and give the connection that waits for it."""
    image = plain_image()
    with serving(checkpoints, *NEVER, *arguments) as (process, base), connect(urlsplit(base)) as client:
        head = f"POST /segment HTTP/1.1\r\nHost: a\r\nContent-Type: image/png\r\nContent-Length: {len(image)}\r\n\r\n"
        client.sendall(head.encode() + image)
        wait_until(lambda: 'segserve_in_flight{model="tiny"} 1.0' in httpx.get(f"{base}/metrics").text)
        yield process, client


def test_a_stuck_device_does_not_hold_up_the_end(checkpoints: Path) -> None:
    with stuck(checkpoints, "--shutdown-timeout", "1") as (process, _):
        process.send_signal(signal.SIGTERM)

        assert process.wait(20) in {0, 1}


def test_a_second_signal_stops_at_once(checkpoints: Path) -> None:
    with stuck(checkpoints, "--shutdown-timeout", "600") as (process, _):
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGINT)

        assert process.wait(20) in {0, 1}


@pytest.mark.parametrize(
    "sent", [b"", b"POST /segm", b"POST /segment HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n12"]
)
def test_a_half_sent_request_does_not_hold_up_the_end(checkpoints: Path, sent: bytes) -> None:
    with (
        serving(checkpoints, "--shutdown-timeout", "1", "--body-timeout", "60") as (process, base),
        connect(urlsplit(base)) as client,
    ):
        client.sendall(sent)
        httpx.get(f"{base}/healthz")
        process.send_signal(signal.SIGTERM)

        assert process.wait(20) == 0


def test_what_is_sent_while_the_service_stops_is_refused_and_the_connection_closed(checkpoints: Path) -> None:
    image = plain_image()
    with serving(checkpoints, "--shutdown-timeout", "20") as (process, base), httpx.Client(base_url=base) as client:
        assert client.post("/segment", content=image, headers=PNG).status_code == 200
        process.send_signal(signal.SIGTERM)

        assert process.wait(20) == 0
        with pytest.raises(httpx.TransportError):
            client.post("/segment", content=image, headers=PNG)
