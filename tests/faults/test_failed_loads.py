"""Models that cannot be loaded: the process lives and says so, unless it was told to be strict."""

import shutil
from pathlib import Path

import pytest

from tests.faults.clients import picture
from tests.faults.conftest import save_model
from tests.faults.server import launched, serving, until


def test_a_process_whose_only_model_failed_lives_and_says_so(checkpoints: Path, log: Path) -> None:
    with launched(log, checkpoints=checkpoints, null_fail_load=1) as server:
        until(lambda: bool(server.events("model failed")))
        health, readiness = server.get("/healthz"), server.get("/readyz")
        shown = server.get("/models/tiny").json()
        answer = server.post("/segment", picture(1))
        code = server.terminate()

    assert health.status_code == 200
    assert (readiness.status_code, readiness.json()["models"]["tiny@1"]["state"]) == (503, "failed")
    assert readiness.json()["models"]["tiny@1"]["problem"]
    assert shown["problem"] == readiness.json()["models"]["tiny@1"]["problem"]
    assert (answer.status_code, answer.headers["content-type"]) == (503, "application/problem+json")
    assert code == 0


def test_a_strict_process_ends_when_a_model_fails(checkpoints: Path, log: Path) -> None:
    with launched(log, checkpoints=checkpoints, null_fail_load=1, strict=1) as server:
        code = server.wait(30)

    assert code == 1
    assert server.log_text().splitlines()[-1].startswith("segserve: ")


@pytest.fixture
def one_broken(checkpoints: Path, tmp_path: Path) -> Path:
    """Give a folder with a good checkpoint and one in which a byte has changed."""
    folder = tmp_path / "models"
    shutil.copytree(checkpoints, folder)
    broken = save_model(folder / "broken.safetensors", "broken")
    data = bytearray(broken.read_bytes())
    data[-100] ^= 1
    broken.write_bytes(data)
    return folder


def test_a_model_with_a_flipped_byte_leaves_the_good_one_alone(one_broken: Path, log: Path) -> None:
    with serving(log, checkpoints=one_broken, default_model="tiny") as server:
        good, bad = server.post("/segment", picture(1)), server.post("/segment?model=broken", picture(1))
        shown = server.get("/models/broken").json()

    assert good.status_code == 200
    assert (bad.status_code, bad.headers["content-type"]) == (503, "application/problem+json")
    assert shown["state"] == "failed"
    assert "sha256" in shown["problem"]


def test_a_strict_process_ends_when_one_of_two_models_is_broken(one_broken: Path, log: Path) -> None:
    with launched(log, checkpoints=one_broken, default_model="tiny", strict=1) as server:
        code = server.wait(30)

    assert code == 1
    assert "broken" in server.log_text().splitlines()[-1]
