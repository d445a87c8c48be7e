"""What Docker hears of a service, from the script that is in its image."""

import json
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest
import trustme

SCRIPT = Path(__file__).parents[2] / "docker/healthcheck.py"


def check(environment: dict[str, str], *arguments: str) -> tuple[int, str]:
    """Run the script as the image does; give its exit code and what it wrote."""
    command = [sys.executable, "-I", "-S", str(SCRIPT), *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30, check=False)
    assert done.stderr == ""
    return done.returncode, done.stdout


@contextmanager
def service(
    answers: dict[str, tuple[int, bytes]], prepare: Callable[[HTTPServer], None] | None = None
) -> Iterator[str]:
    """Answer each path as told, on a port of this machine, which is given."""

    class Answering(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = answers[self.path]
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # its own name
            pass

    server = HTTPServer(("127.0.0.1", 0), Answering)
    if prepare is not None:
        prepare(server)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield str(server.server_port)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def readiness(**fields: object) -> bytes:
    return json.dumps({"ready": False, "started": True, "draining": False, "problem": None, **fields}).encode()


def test_a_service_that_is_ready_is_healthy() -> None:
    body = readiness(models={"voc@1": {"state": "ready", "problem": None}})

    with service({"/readyz": (200, body)}) as port:
        found = check({"SEGSERVE_HOST": "0.0.0.0", "SEGSERVE_PORT": port})  # noqa: S104  # compared, not listened on

    assert found == (0, "200 voc@1: ready\n")


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (readiness(models={"voc@1": {"state": "loading", "problem": None}}), "503 voc@1: loading\n"),
        (readiness(models={"voc@1": {"state": "failed", "problem": "damaged"}}), "503 voc@1: damaged\n"),
        (readiness(draining=True, models={}), "503 draining\n"),
        (readiness(problem="device cuda:0: broken", models={}), "503 device cuda:0: broken\n"),
        (b"<html>", "503\n"),
        (b"[]", "503\n"),
    ],
)
def test_what_keeps_a_service_from_being_ready_is_told(body: bytes, told: str) -> None:
    with service({"/readyz": (503, body)}) as port:
        found = check({"SEGSERVE_PORT": port})

    assert found == (1, told)


def test_another_page_can_be_asked_for() -> None:
    with service({"/healthz": (200, b'{"status":"alive"}')}) as port:
        code, _ = check({"SEGSERVE_PORT": port}, "/healthz")

    assert code == 0


def test_a_service_that_does_not_answer_is_not_healthy() -> None:
    with service({}) as port:
        pass

    code, told = check({"SEGSERVE_PORT": port})

    assert code == 1
    assert told.startswith("no answer: ")


def test_a_service_that_speaks_tls_is_asked_so(tmp_path: Path) -> None:
    certificate = trustme.CA().issue_cert("segserve.example.org")

    def speak_tls(server: HTTPServer) -> None:

        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        certificate.configure_cert(context)
        server.socket = context.wrap_socket(server.socket, server_side=True)

    with service({"/readyz": (200, readiness(models={}))}, speak_tls) as port:
        code, _ = check({"SEGSERVE_PORT": port, "SEGSERVE_TLS_CERTIFICATE_FILE": str(tmp_path / "any")})

    assert code == 0
