"""Kill runs at random moments and hold what comes of them against runs that were left alone."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from model_zoo import checkpoint
from training.errors import NonFiniteLoss
from training.loop import fit
from training.recipe import Recipe, read_recipe
from training.run_folder import LAST

RUN = {
    "train": ["shapes:train:24"], "val": "shapes:val:4", "crop": 32, "batch_size": 4, "epochs": 4, "validate_every": 2,
    "ema_decay": 0.9, "accumulate": 2, "save_every": 2, "report": False, "workers": 0,
    "arguments": {"base_channels": 4, "drop_rate": 0.3},
}  # fmt: skip
"""A run of 24 steps that draws random numbers for everything: order, crops, colours, dropout."""

KILLED = {**RUN, "train": ["shapes:train:80"], "batch_size": 8, "workers": 2, "save_every": 3}
"""The same with 10 steps an epoch, and two workers that prepare the images."""


def weights(run: Path) -> dict[str, torch.Tensor]:
    return checkpoint.load(run / LAST).network.state_dict()


def rows(run: Path) -> list[list[str]]:
    """Give the lines of the metrics, but what tells of time."""
    lines = [line.split(",") for line in (run / "metrics.csv").read_text().splitlines()]
    timed = [lines[0].index(name) for name in ("images_per_second", "waited", "seconds")]
    return [[value for place, value in enumerate(line) if place not in timed] for line in lines]


def assert_same_run(one: Path, other: Path) -> None:
    first, second = weights(one), weights(other)
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    assert rows(one) == rows(other)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the folder of a run that was left alone."""
    out = tmp_path_factory.mktemp("resume") / "whole"
    fit(read_recipe("quick", RUN), out)
    return out


class Killed(BaseException):
    """End a run as suddenly as a test can without a process of its own."""


@pytest.mark.parametrize("step", [1, 2, 7, 12, 13, 23, 24])
def test_trap_54_a_run_that_ended_at_any_step_goes_on_as_if_it_had_not(
    tmp_path: Path, whole: Path, step: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe, taken = read_recipe("quick", RUN), []
    optimizer_step = torch.optim.AdamW.step

    def step_or_end(*arguments: object) -> object:
        taken.append(1)
        if len(taken) == step:
            raise Killed
        return optimizer_step(*arguments)  # type: ignore[arg-type]  # handed through

    with monkeypatch.context() as patch:
        patch.setattr(torch.optim.AdamW, "step", step_or_end)
        with pytest.raises(Killed):
            fit(recipe, tmp_path / "run")
    capsys.readouterr()
    fit(recipe, tmp_path / "run")

    saved = (step - 1) // 2 * 2
    assert (f"goes on after step {saved} of 24" in capsys.readouterr().out) == (saved > 0)
    assert_same_run(tmp_path / "run", whole)


def test_trap_58_at_most_the_steps_since_the_last_saving_are_done_again(whole: Path) -> None:
    states = sorted(path.name for path in (whole / "state").glob("*.pt"))

    assert states == ["step-000000022.pt", "step-000000024.pt"]


@pytest.mark.usefixtures("uncovered")
@pytest.mark.parametrize(("kills", "epochs"), [(2, 6), pytest.param(20, 48, marks=pytest.mark.soak)])
def test_trap_54_a_run_that_is_killed_again_and_again_has_the_weights_of_one_that_is_not(
    tmp_path: Path, kills: int, epochs: int
) -> None:
    recipe = read_recipe("quick", {**KILLED, "epochs": epochs, "validate_every": 5})
    fit(recipe, tmp_path / "whole")
    draw = random.Random(kills)  # noqa: S311  # moments, not secrets

    ends = [run_and_kill(recipe, tmp_path / "killed", delay=draw.uniform(0, 0.5)) for _ in range(kills)]
    finish(recipe, tmp_path / "killed")

    assert ends == [-signal.SIGKILL] * kills
    assert_same_run(tmp_path / "whole", tmp_path / "killed")


@pytest.mark.usefixtures("uncovered")
@pytest.mark.parametrize("every", [9, pytest.param(1, marks=pytest.mark.soak)])
def test_trap_54_a_run_that_is_killed_while_it_touches_a_file_goes_on_as_if_it_had_not(
    tmp_path: Path, every: int
) -> None:
    words = [sys.executable, "-m", "tests.training.kill_points", str(tmp_path), str(every)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=1200, check=True)  # noqa: S603  # fixed words

    moments = [line.split(maxsplit=3) for line in done.stdout.splitlines()]
    assert len(moments) > 90 // every
    assert [line for line in moments if len(line) > 3] == []


def command(recipe: Recipe, out: Path) -> Sequence[str]:
    path = out.with_suffix(".toml")
    path.write_text(recipe.to_toml())
    return [sys.executable, "-m", "training", "fit", "--recipe", str(path), "--out", str(out)]


def run_and_kill(recipe: Recipe, out: Path, *, delay: float) -> int:
    """Start the run, kill it and its workers some time after it has learnt something, and say how it ended."""
    before = newest_state(out)
    process = subprocess.Popen(command(recipe, out), stderr=subprocess.PIPE, start_new_session=True)  # noqa: S603  # fixed words
    deadline = time.monotonic() + 120
    while newest_state(out) == before and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(delay)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=60)
    return process.returncode


def finish(recipe: Recipe, out: Path) -> None:
    done = subprocess.run(command(recipe, out), capture_output=True, text=True, timeout=300, check=False)  # noqa: S603  # fixed words
    assert done.returncode == 0, done.stderr


def newest_state(out: Path) -> int:
    steps = [int(path.stem.removeprefix("step-")) for path in (out / "state").glob("step-*.pt")]
    return max(steps, default=0)


def test_row_24_a_run_that_stopped_at_a_bad_loss_goes_on_from_its_last_good_state(tmp_path: Path) -> None:
    recipe = read_recipe("quick", {**RUN, "optimizer": "sgd", "lr": 1e30, "warmup_steps": 0, "save_every": 1})
    for _ in range(2):
        with pytest.raises(NonFiniteLoss):
            fit(recipe, tmp_path / "run")

    assert newest_state(tmp_path / "run") > 0
