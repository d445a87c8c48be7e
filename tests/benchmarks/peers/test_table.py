"""Hold the table of peers together; no peer has to be installed."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.peers import ENVIRONMENTS, PEERS, Task
from benchmarks.peers.peer import read_task

JPEG = b"\xff\xd8 a picture \xff\xd9"
PNG = b"\x89PNG\r\n\x1a\n a mask"
TASK = Task(Path("/networks/some.safetensors"), threads=3, max_batch_size=4, max_delay=0.02)

ANSWERS = {
    "bentoml": json.dumps([base64.b64encode(PNG).decode()]).encode(),
    "pytriton": b'{"outputs":[{"name":"mask"}]}' + len(PNG).to_bytes(4, "little") + PNG,
}
"""The bodies that hold a mask where it is not the body itself."""


@pytest.mark.parametrize("name", PEERS)
def test_a_peer_is_known_by_its_name_and_made_by_the_setup(name: str) -> None:
    setup = Path("benchmarks/peers/setup.sh").read_text()

    assert PEERS[name].name == name
    assert f"        {name})" in setup
    assert PEERS[name].version_of in setup


@pytest.mark.parametrize("name", PEERS)
def test_a_command_is_a_program_of_the_peers_environment_and_tells_the_port(name: str) -> None:
    words = list(PEERS[name].command(TASK, 17123))

    assert Path(words[0]).parent == ENVIRONMENTS / name / "bin"
    assert words[-1] == "17123"
    module = next(word for word in words if word.startswith("benchmarks.peers.")).partition(":")[0]
    assert Path(module.replace(".", "/") + ".py").is_file()


@pytest.mark.parametrize("name", PEERS)
def test_an_environment_tells_the_task(name: str) -> None:
    variables = PEERS[name].environment(TASK)

    assert read_task(variables) == TASK
    assert variables["OMP_NUM_THREADS"] == "3"
    assert variables["OMP_WAIT_POLICY"] == "PASSIVE"
    assert Path(variables["PYTHONPATH"], "model_zoo").is_dir()


@pytest.mark.parametrize("name", PEERS)
def test_the_empty_network_is_told_too(name: str) -> None:
    assert read_task(PEERS[name].environment(Task())).network is None


@pytest.mark.parametrize("name", PEERS)
def test_a_request_holds_the_picture_and_a_mask_is_found_in_the_answer(name: str) -> None:
    path, headers, body = PEERS[name].request(JPEG)

    assert path.startswith("/")
    assert "Content-Type" in headers
    assert JPEG in body or base64.b64encode(JPEG) in body
    assert PEERS[name].answer(ANSWERS.get(name, PNG)) == PNG
    assert PEERS[name].ready_path.startswith("/")


def test_the_binary_protocol_tells_its_lengths() -> None:
    _, headers, body = PEERS["pytriton"].request(JPEG)

    length = int(headers["Inference-Header-Content-Length"])
    head = json.loads(body[:length])
    assert head["inputs"][0]["parameters"]["binary_data_size"] == len(body) - length
    assert int.from_bytes(body[length : length + 4], "little") == len(JPEG)


def test_the_table_needs_the_standard_library_alone() -> None:
    code = "import sys, benchmarks.peers; sys.exit(bool({'torch', 'numpy', 'PIL', 'fastapi'} & set(sys.modules)))"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0  # noqa: S603
