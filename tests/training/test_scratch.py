"""Train from random weights until the answer is good: minutes, so not among the quick tests."""

from pathlib import Path

import pytest

from training.loop import fit
from training.recipe import read_recipe

SCRATCH = {
    "architecture": "fcn8s",
    "arguments": {"norm": "batch", "head_width": 512, "head_kernel": 1, "drop_rate": 0.0, "score_init": "he"},
    "crop": 64, "lr": 1e-3, "epochs": 6, "precision": "bfloat16", "validate_every": 6, "report": False,
}  # fmt: skip


@pytest.mark.soak
def test_row_9_fcn8s_learns_shapes_from_random_weights(tmp_path: Path) -> None:
    scores = fit(read_recipe("quick", SCRATCH), tmp_path)

    assert scores.mean_iou >= 0.85
