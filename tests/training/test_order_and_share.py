"""Run what is chosen by ``order`` and ``train_share`` through the whole of training."""

import csv
from pathlib import Path

from model_zoo import checkpoint
from training.loop import fit
from training.recipe import Recipe, read_recipe
from training.run_folder import LAST, METRICS

TINY = {
    "train": ["shapes:train:24"], "val": "shapes:val:2", "crop": 32, "batch_size": 4, "steps": 12, "workers": 0,
    "report": False, "save_every": 5, "arguments": {"base_channels": 4},
}  # fmt: skip


def tiny(**changes: object) -> Recipe:
    return read_recipe("quick", {**TINY, **changes})


def test_an_epoch_of_a_sliding_window_has_as_many_steps_as_one_of_a_shuffled_order(tmp_path: Path) -> None:
    fit(tiny(order="sliding"), tmp_path / "run")

    with (tmp_path / "run" / METRICS).open() as file:
        assert [row["step"] for row in csv.DictReader(file)] == ["6", "12"]


def test_a_share_of_the_images_is_what_the_checkpoint_says_it_learnt_from(tmp_path: Path) -> None:
    fit(tiny(train_share=0.25, steps=2), tmp_path / "run")

    training = checkpoint.load(tmp_path / "run" / LAST).header.training
    assert training is not None
    assert [dataset.num_images for dataset in training.datasets] == [6]
