import shutil
from pathlib import Path

import pytest
import torch

from service.__main__ import main
from service.app import create_app
from service.autotune import Autotuner, table
from service.settings import BadSetting, Settings
from service.tuning import read_tuning
from tests.service.conftest import running, until_ready


@pytest.fixture
def folder(tmp_path: Path, checkpoints: Path) -> Path:
    shutil.copy(checkpoints / "tiny.safetensors", tmp_path)
    return tmp_path


def test_every_installed_runtime_is_tried_at_every_size(folder: Path) -> None:
    pytest.importorskip("openvino")
    tuner = Autotuner(folder / "tiny.safetensors", device="cpu", max_batch_size=3)

    found = tuner.measure(seconds=0)

    tried = {(trial.runtime, trial.precision, trial.batch_size) for trial in found.trials}
    ways = [("torch", "float32"), ("openvino", "float32"), ("onnxruntime", "float32")]
    assert {(*way, size) for way in ways for size in (1, 2, 3)} <= tried
    assert found.best in found.trials
    assert min(trial.agreement for trial in found.trials) >= 0.995
    assert found.shape == (3, 48, 64)
    assert max(trial.images_per_second for trial in found.trials) <= found.best.images_per_second / 0.95
    assert [line for line in table(found) if "<- chosen" in line]


def test_a_way_that_is_not_there_is_told(folder: Path) -> None:
    tuner = Autotuner(folder / "tiny.safetensors", device="cpu", max_batch_size=1)

    tried = {trial.runtime + trial.precision for trial in tuner.measure(seconds=0).trials}

    told = {"".join(remark.partition(":")[0].split(" in ")) for remark in tuner.remarks}
    assert tried | told == {
        "torchfloat32", "torchbfloat16", "openvinofloat32", "openvinobfloat16", "onnxruntimefloat32",
    }  # fmt: skip
    assert tried.isdisjoint(told)


@pytest.mark.anyio
async def test_what_the_command_has_found_is_what_is_served(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["tune", str(folder), "--seconds", "1", "--max-batch-size", "2", "--device", "cpu"]

    code = main(words)

    found = read_tuning(folder / "tiny.tuned.json")
    assert code == 0
    assert f"{folder / 'tiny.tuned.json'}: written" in capsys.readouterr().out
    async with running(create_app(Settings(checkpoints=folder, device="cpu"))) as client:
        await until_ready(client)
        shown = (await client.get("/models/tiny")).json()
    assert (shown["runtime"], shown["dtype"]) == (found.best.runtime, found.best.precision)
    assert shown["tuning"].startswith(f"tuned on {found.day}: {found.best.images_per_second:.1f} images/s")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--seconds", "0"], "'0' is no whole number from 1 to 3600"),
        (["--max-batch-size", "65"], "'65' is no whole number from 1 to 64"),
        (["--max-batch-size", "many"], "'many' is no whole number from 1 to 64"),
    ],
)
def test_a_number_beyond_its_limits_is_refused(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["tune", "x.safetensors", *words])

    assert said in capsys.readouterr().err


def test_a_device_that_is_not_there_is_refused(folder: Path) -> None:
    if torch.cuda.device_count() > 7:
        pytest.skip("this machine has it")

    with pytest.raises(BadSetting, match="device=cuda:7"):
        Autotuner(folder / "tiny.safetensors", device="cuda:7")


@pytest.mark.parametrize("name", ["missing.safetensors", "torn.safetensors"])
def test_a_file_that_is_no_checkpoint_is_refused_in_a_line(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "torn.safetensors").write_bytes(b"no")

    code = main(["tune", str(tmp_path / name)])

    assert code == 1
    assert capsys.readouterr().err.count("\n") == 1
    assert not list(tmp_path.glob("*.tuned.json"))
