import json
from pathlib import Path

import pytest
import torch

from model_zoo import checkpoint
from model_zoo.architectures.fcn import FCN32s
from model_zoo.card import Card
from model_zoo.spec import Argument, ModelSpec, SizeRule
from training.__main__ import main
from training.datasets.shapes import SHAPES_LABELS

ARGUMENTS: dict[str, Argument] = {"encoder": "narrow_vgg", "head_width": 128, "head_kernel": 1, "score_init": "he"}


@pytest.fixture
def fcn32s(tmp_path: Path) -> Path:
    """Give the checkpoint of a small FCN-32s with random weights."""
    torch.manual_seed(0)
    spec = ModelSpec(
        architecture="fcn32s",
        arguments=ARGUMENTS,
        classes=SHAPES_LABELS.classes,
        palette=SHAPES_LABELS.palette,
        size=SizeRule(policy="native"),
    )
    network = FCN32s(4, encoder="narrow_vgg", head_width=128, head_kernel=1, score_init="he")
    checkpoint.save(tmp_path / "fcn32s.safetensors", network, Card(name="fcn32s", spec=spec))
    return tmp_path / "fcn32s.safetensors"


@pytest.mark.parametrize(("words", "step"), [(["--shift-and-stitch", "16"], 16), (["--shift-and-stitch"], 1)])
def test_row_14_a_checkpoint_is_scored_by_shift_and_stitch(fcn32s: Path, words: list[str], step: int) -> None:
    path = fcn32s.with_suffix(".json")

    code = main(["evaluate", str(fcn32s), "--data", "shapes:val:1", "--json", str(path), *words])

    assert code == 0
    assert json.loads(path.read_text())["inference"]["shift_step"] == step


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--shift-and-stitch", "5"], "shift_step 5 px does not divide 32 px"),
        (["--shift-and-stitch", "8", "--window", "64"], "window, tile and shift_step exclude each other"),
    ],
)
def test_row_14_shifts_that_cannot_be_stitched_are_refused_in_one_line(
    fcn32s: Path, words: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(["evaluate", str(fcn32s), "--data", "shapes:val:1", *words])

    assert code == 2
    assert capsys.readouterr().err == f"segtrain: {complaint}\n"
