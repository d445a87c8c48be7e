"""Run the real command as a process of its own: what an operator meets."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

import httpx
import pytest

from service.__main__ import main
from tests.service.fakes import plain_image

PNG = {"Content-Type": "image/png"}


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "service", *arguments]


def environment(**variables: str) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("SEGSERVE_")}
    return {**kept, "SEGSERVE_DEVICE": "cpu", "SEGSERVE_TORCH_THREADS": "1", **variables}


def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603  # our own command
        command(*arguments), env=environment(**variables), capture_output=True, text=True, timeout=60, check=False
    )


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "it did not come to be in time"
        time.sleep(0.02)


def is_listening(url: SplitResult) -> bool:
    try:
        connect(url).close()
    except ConnectionRefusedError:
        return False
    return True


def connect(url: SplitResult) -> socket.socket:
    return socket.create_connection((url.hostname, url.port), timeout=30)


def wait_for_readiness(base: str, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()[1]
        with suppress(httpx.TransportError):
            if httpx.get(f"{base}/readyz").status_code == 200:
                return
        time.sleep(0.05)
    pytest.fail("/readyz did not become 200 in time")


@contextmanager
def serving(checkpoints: Path, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run a ready server on a free port."""
    process = subprocess.Popen(  # noqa: S603  # our own command
        command("serve", "--port", "0", "--checkpoints", str(checkpoints), "--log-format", "text", *arguments),
        env=environment(),
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        found = None
        while found is None:
            line = process.stderr.readline()
            assert line, "the server ended"
            found = re.search(r"url=(\S+)", line)
        wait_for_readiness(found[1], process)
        yield process, found[1]
    finally:
        process.kill()
        process.communicate()


def test_sigterm_lets_a_request_finish_and_exits_with_zero(checkpoints: Path) -> None:
    image = plain_image()
    with serving(checkpoints) as (process, base):
        url = urlsplit(base)
        with closing(HTTPConnection(str(url.hostname), url.port, timeout=30)) as connection:
            connection.request("POST", "/segment", image[:20], {**PNG, "Content-Length": str(len(image))})
            wait_until(lambda: 'segserve_visitors{model="tiny"} 1.0' in httpx.get(f"{base}/metrics").text)
            process.send_signal(signal.SIGTERM)
            wait_until(lambda: not is_listening(url))
            connection.send(image[20:])
            answer = connection.getresponse()
            mask = answer.read()
        code = process.wait(60)

    assert answer.status == 200
    assert mask.startswith(b"\x89PNG")
    assert code == 0


def test_sigint_exits_with_zero_and_without_a_traceback(checkpoints: Path) -> None:
    with serving(checkpoints) as (process, _):
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)

    assert process.returncode == 0
    assert "Traceback" not in errors


def test_as_many_connections_as_allowed_are_served_and_silent_ones_are_closed(checkpoints: Path) -> None:
    def ask() -> int:
        return httpx.get(f"{base}/models").status_code

    with serving(checkpoints, "--max-connections", "2") as (_, base):
        url = urlsplit(base)
        with connect(url) as first:
            wait_until(lambda: ask() == 200)
            with connect(url) as second:
                full = ask()
                closed = [first.recv(1), second.recv(1)]
                free = ask()

    assert (full, free) == (503, 200)
    assert closed == [b"", b""]


def test_a_reader_that_has_had_enough_sees_no_traceback(checkpoints: Path) -> None:
    process = subprocess.Popen(  # noqa: S603  # our own command
        command("check", str(checkpoints / "tiny.safetensors")),
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    process.stdout.close()

    _, errors = process.communicate(timeout=60)

    assert errors == ""
    assert process.returncode == 1


def test_a_port_in_use_is_told_in_one_line(checkpoints: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code = main(["serve", "--port", str(port), "--checkpoints", str(checkpoints)])

    assert code == 1
    assert capsys.readouterr().err == f"segserve: cannot listen on 127.0.0.1:{port}: Address already in use\n"


def test_a_host_that_does_not_exist_is_told_in_one_line(checkpoints: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["serve", "--host", "256.1.1.1", "--checkpoints", str(checkpoints)])

    assert code == 1
    assert capsys.readouterr().err.splitlines()[-1] == "segserve: cannot listen on 256.1.1.1:8000: no such host"


def test_a_checkpoint_whose_weights_are_damaged_ends_a_strict_service_in_words(
    checkpoints: Path, tmp_path: Path
) -> None:
    data = bytearray((checkpoints / "tiny.safetensors").read_bytes())
    data[-1] ^= 1
    (tmp_path / "tiny.safetensors").write_bytes(data)

    ended = run("serve", "--port", "0", "--checkpoints", str(tmp_path), "--log-level", "error", "--strict")

    assert ended.returncode == 1
    last = ended.stderr.splitlines()[-1]
    assert last.startswith(
        f"segserve: checkpoints: strict, and these cannot be served: {tmp_path}/tiny.safetensors: the weights do not"
    )
    assert "Traceback" not in ended.stderr


TLS = ("--tls-key-file", "/dev/null", "--tls-certificate-file")


@pytest.mark.parametrize(
    ("arguments", "variables", "code", "told"),
    [
        (["serve"], {"SEGSERVE_PROT": "1"}, 2, "unknown setting SEGSERVE_PROT; did you mean SEGSERVE_PORT?"),
        (["serve"], {"SEGSERVE_PORT": "x"}, 2, "bad setting SEGSERVE_PORT=x: "),
        (["serve", "--port", "70000"], {}, 2, "bad setting --port=70000: "),
        (["serve"], {"SEGSERVE_CHECKPOINTS": "/nowhere/at/all"}, 1, "checkpoints: /nowhere/at/all does not exist"),
        (["serve", "--checkpoints", "x" * 300], {}, 1, f"checkpoints: {'x' * 300}"),
        (["predict", "a.jpg", "--model", "x" * 300], {}, 1, f"checkpoints: {'x' * 300}"),
        (["serve", "--default-model", "x"], {}, 2, "bad setting default_model=x: no such model; there are tiny"),
        (["check", "/nowhere/at/all"], {}, 1, "/nowhere/at/all: No such file or directory"),
        (["serve", "--tls-key-file", "/dev/null"], {}, 2, "bad setting tls_certificate_file, tls_key_file: one is set"),
        (["serve", *TLS, "/nowhere"], {}, 2, "bad setting tls_certificate_file=/nowhere: it cannot be read"),
        (
            ["serve", *TLS, "/dev/null"],
            {},
            2,
            "bad setting tls_certificate_file=/dev/null, tls_key_file=/dev/null: they",
        ),
    ],
)
def test_bad_input_is_told_in_one_line(  # noqa: PLR0917  # fixtures, and the columns of the table
    checkpoints: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    variables: dict[str, str],
    code: int,
    told: str,
) -> None:
    for name, value in {"SEGSERVE_CHECKPOINTS": str(checkpoints), **variables}.items():
        monkeypatch.setenv(name, value)

    assert main(arguments) == code

    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"segserve: {told}")


@pytest.mark.parametrize("arguments", [[], ["serve", "--prot", "1"], ["predict"], ["dance"]])
def test_a_command_that_does_not_exist_is_told_in_one_line(
    capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)

    assert caught.value.code == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_help_names_every_setting(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["serve", "--help"])

    assert caught.value.code == 0
    assert "SEGSERVE_MAX_BATCH_SIZE" in capsys.readouterr().out


def test_threads_are_told_to_sleep_before_torch_is_imported() -> None:
    script = "import sys, service.__main__; print('torch' in sys.modules)"

    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)  # noqa: S603

    assert ended.stdout == "False\n"
