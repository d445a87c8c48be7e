"""Train with two processes on the CPU, as torchrun starts them, and hold the result against one."""

import csv
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from model_zoo import checkpoint
from training.datasets.shapes import Shapes
from training.errors import InvalidRecipe
from training.evaluation.evaluate import evaluate
from training.loop import fit
from training.processes import ALONE, Processes, joined
from training.recipe import Recipe, read_recipe

RUN = {
    "train": ["shapes:train:22"], "val": "shapes:val:5", "crop": 64, "batch_size": 6, "epochs": 2, "workers": 0,
    "accumulate": 2, "report": False, "optimizer": "sgd", "lr": 0.05, "warmup_steps": 0, "weight_decay": 1e-4,
    "arguments": {"base_channels": 4, "norm": "none"},
}  # fmt: skip
"""Batches of 5 and 6 images, so that the shares of two processes differ, and 5 images to validate on."""


def torchrun(recipe: Recipe, out: Path, *, count: int = 2) -> subprocess.CompletedProcess[str]:
    path = out.with_suffix(".toml")
    path.write_text(recipe.to_toml())
    launch = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc-per-node",
        str(count),
        "--master-port",
        free_port(),
    ]
    words = ["-m", "training", "fit", "--recipe", str(path), "--out", str(out)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    return subprocess.run(  # noqa: S603  # fixed words
        [*launch, *words], capture_output=True, text=True, timeout=300, check=False, env=environment
    )


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def losses(run: Path) -> list[float]:
    with (run / "metrics.csv").open() as file:
        return [float(row["loss"]) for row in csv.DictReader(file)]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Give the folders of the same run by one process and by two."""
    folder = tmp_path_factory.mktemp("processes")
    recipe = read_recipe("quick", RUN)
    fit(recipe, folder / "one")
    done = torchrun(recipe, folder / "two")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("last mIoU") == 1
    return folder / "one", folder / "two"


def test_trap_39_two_processes_learn_what_one_learns(pair: tuple[Path, Path]) -> None:
    one, two = (checkpoint.load(run / "checkpoint-last.safetensors").network.state_dict() for run in pair)

    assert losses(pair[1]) == pytest.approx(losses(pair[0]), rel=1e-5)
    assert all(torch.allclose(value, two[name], rtol=1e-3, atol=1e-5) for name, value in one.items())


def test_trap_57_names_of_a_shared_network_are_its_own(pair: tuple[Path, Path]) -> None:
    assert checkpoint.verify(pair[1] / "checkpoint-last.safetensors")


def test_trap_19_two_processes_count_every_validation_image_once(pair: tuple[Path, Path]) -> None:
    loaded = checkpoint.load(pair[1] / "checkpoint-last.safetensors")
    noted = {metric.name: metric.value for metric in loaded.header.metrics}

    scores = evaluate(loaded.network, loaded.header.spec, Shapes(Path("5"), "val"))

    assert noted["mIoU"] == pytest.approx(scores.mean_iou, abs=1e-12)
    assert noted["pixel accuracy"] == pytest.approx(scores.pixel_accuracy, abs=1e-12)


@pytest.mark.parametrize("count", [2, 3, 7])
def test_trap_19_the_shares_of_an_evaluation_add_up_to_every_image_once(pair: tuple[Path, Path], count: int) -> None:
    loaded = checkpoint.load(pair[0] / "checkpoint-last.safetensors")
    val = Shapes(Path("5"), "val")

    whole = evaluate(loaded.network, loaded.header.spec, val)
    shares = [evaluate(loaded.network, loaded.header.spec, val, Alone(rank, count)) for rank in range(count)]

    labelled = sum(int((val[index].target != 255).sum()) for index in range(len(val)))
    assert torch.equal(sum((share.counts for share in shares), torch.zeros_like(whole.counts)), whole.counts)
    assert whole.counts.sum() == labelled


class Alone(Processes):
    """Be one of several whose sums are left to the test."""

    def sum(self, values: torch.Tensor) -> torch.Tensor:
        return values


@pytest.mark.usefixtures("uncovered")
def test_a_run_of_two_processes_is_resumed_by_two(pair: tuple[Path, Path], tmp_path: Path) -> None:
    recipe = read_recipe("quick", {**RUN, "save_every": 3})
    fit(recipe, tmp_path / "run")
    for path in sorted((tmp_path / "run" / "state").glob("*.pt"))[1:]:
        path.unlink()

    done = torchrun(recipe, tmp_path / "run")

    assert done.returncode == 0, done.stderr
    assert losses(tmp_path / "run") == pytest.approx(losses(pair[0]), rel=1e-5)


def test_trap_46_on_cpus_every_process_counts_its_own_images_for_batch_norm(tmp_path: Path) -> None:
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1)
    network = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 1), torch.nn.BatchNorm2d(2))

    shared = Processes(0, 2).share(network, sync_norms=True)
    shared(torch.ones(2, 1, 2, 2)).sum().backward()
    torch.distributed.destroy_process_group()

    assert [type(module).__name__ for module in shared.modules()][-1] == "BatchNorm2d"


@pytest.mark.usefixtures("uncovered")
def test_what_goes_wrong_in_the_first_process_is_told_in_one_line_and_nobody_waits(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.tex").touch()

    done = torchrun(read_recipe("quick", RUN), tmp_path / "run")

    assert done.returncode != 0
    assert done.stderr.count("run is not empty; choose another folder, or say --overwrite") == 2
    assert "loop.py" not in done.stderr


def test_alone_nothing_is_shared() -> None:
    network = torch.nn.Linear(1, 1)

    assert ALONE.share(network, sync_norms=True) is network
    assert ALONE.sum(torch.tensor([3])).item() == 3
    ALONE.wait()
    ALONE.raise_together(None)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_process_without_a_gpu_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", "1")

    with pytest.raises(InvalidRecipe, match="no GPU that torch can use"), joined("cuda"):
        pytest.fail("joined without a GPU")
