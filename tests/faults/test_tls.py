"""Serve over TLS, where one half of a connection cannot be closed alone."""

import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import trustme

from tests.faults.server import Server, launched, until
from tests.service.fakes import plain_image


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def server(checkpoints: Path, authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("tls")
    certificate = authority.issue_cert("127.0.0.1")
    certificate.cert_chain_pems[0].write_to_path(folder / "certificate.pem")
    certificate.private_key_pem.write_to_path(folder / "key.pem")
    files: dict[str, Any] = {"tls_certificate_file": folder / "certificate.pem", "tls_key_file": folder / "key.pem"}
    with launched(folder / "server.log", checkpoints=checkpoints, max_body_bytes=100_000, **files) as running:
        yield running


@pytest.fixture
def client(server: Server, authority: trustme.CA) -> Iterator[httpx.Client]:
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    with httpx.Client(base_url=server.url, verify=trusting, timeout=20) as client:
        while client.get("/readyz").status_code != 200:
            assert server.is_alive
        yield client


def test_a_mask_comes_over_tls(server: Server, client: httpx.Client) -> None:
    answer = client.post("/segment", content=plain_image(), headers={"Content-Type": "image/png"})

    assert server.url.startswith("https://")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")


def test_who_sends_too_much_hears_why(client: httpx.Client) -> None:
    answer = client.post("/segment", content=bytes(5_000_000), headers={"Content-Type": "image/png"})

    assert answer.status_code == 413


def test_who_does_not_trust_the_certificate_or_speaks_plainly_gets_nothing(server: Server) -> None:
    with pytest.raises(httpx.ConnectError):
        httpx.get(server.url + "/healthz")
    with pytest.raises(httpx.TransportError):
        httpx.get(server.url.replace("https", "http") + "/healthz")


def test_who_hangs_up_leaves_nothing_behind(server: Server, client: httpx.Client, authority: trustme.CA) -> None:
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    address = ("127.0.0.1", server.port)
    image = plain_image()
    head = b"POST /segment HTTP/1.1\r\nHost: test\r\nContent-Type: image/png\r\nContent-Length: %d\r\n\r\n" % len(image)
    before = server.num_files()
    for sent in (None, b"", head, head + image, head + image):
        hasty = socket.create_connection(address)
        if sent is not None:
            hasty = trusting.wrap_socket(hasty, server_hostname="127.0.0.1")
            hasty.sendall(sent)
        hasty.close()

    assert client.get("/readyz").status_code == 200
    until(lambda: server.num_files() <= before + 1)
    assert "Traceback" not in server.log_text()
    assert "eof_received" not in server.log_text()
