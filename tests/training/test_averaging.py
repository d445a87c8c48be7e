"""Average checkpoints of a spec, and refuse others."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch

from model_zoo import checkpoint
from model_zoo.card import Card, Training
from training.__main__ import main


@pytest.fixture(scope="module")
def parts(run_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Give a trained checkpoint, and two like it whose weights are all larger, by 0.01 and by 0.02."""
    folder = tmp_path_factory.mktemp("parts")
    paths = [folder / f"run-{number}" / "checkpoint-last.safetensors" for number in range(3)]
    for number, path in enumerate(paths):
        loaded = checkpoint.load(run_folder / "checkpoint-last.safetensors")
        with torch.no_grad():
            for weight in loaded.network.parameters():
                weight.add_(0.01 * number)
        training = loaded.header.training
        recipe = {**training.recipe, "seed": number}
        card = Card(
            name="tiny",
            spec=loaded.header.spec,
            training=training.model_copy(update={"seed": number, "recipe": recipe}),
        )
        path.parent.mkdir()
        checkpoint.save(path, loaded.network, card)
    return paths


def average(sources: list[Path], out: Path, *words: str) -> int:
    return main(["average", *map(str, sources), "--out", str(out), *words])


def test_every_weight_is_the_mean_of_those_of_all_parts(parts: list[Path], tmp_path: Path) -> None:
    code = average(parts, tmp_path / "mean.safetensors")

    found = checkpoint.verify(tmp_path / "mean.safetensors").network.state_dict()
    middle = checkpoint.load(parts[1]).network.state_dict()  # larger than the first by as much as smaller than the last
    assert code == 0
    assert all(torch.allclose(found[name], middle[name], atol=1e-6) for name in middle)


def test_a_mean_names_its_parts_and_tells_what_their_runs_share(parts: list[Path], tmp_path: Path) -> None:
    average(parts, tmp_path / "mean.safetensors")

    training = checkpoint.load(tmp_path / "mean.safetensors").header.training
    one = checkpoint.load(parts[0]).header.training
    assert [part.name for part in training.averaged] == [
        f"run-{number}/checkpoint-last.safetensors" for number in (0, 1, 2)
    ]
    assert [part.sha256 for part in training.averaged] == [hashlib.sha256(p.read_bytes()).hexdigest() for p in parts]
    assert {(part.commit, part.command) for part in training.averaged} == {(one.commit, one.command)}
    assert training.datasets == one.datasets
    assert training.seed is None
    assert training.recipe == {name: value for name, value in one.recipe.items() if name != "seed"}
    assert training.command is not None
    assert training.command.startswith("segtrain average ")


def test_a_mean_records_the_score_that_evaluation_gives_it(
    parts: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = average(parts, tmp_path / "mean.safetensors", "--data", "shapes:val:6", "--data-name", "six drawings")

    told = capsys.readouterr().out
    main(["evaluate", str(tmp_path / "mean.safetensors"), "--data", "shapes:val:6"])
    miou = checkpoint.load(tmp_path / "mean.safetensors").header.metrics[0]
    assert code == 0
    assert (miou.name, miou.dataset, miou.num_images) == ("mIoU", "six drawings", 6)
    assert f"mIoU {miou.value:.4f}" in told
    assert f"mIoU {miou.value:.4f}" in capsys.readouterr().out


def test_a_run_of_another_size_rule_has_no_mean_with_these(
    parts: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    loaded = checkpoint.load(parts[0])
    size = loaded.header.spec.size.model_copy(update={"multiple": 64})
    other = tmp_path / "other.safetensors"
    spec = loaded.header.spec.model_copy(update={"size": size})
    checkpoint.save(other, loaded.network, Card(name="other", spec=spec, training=Training()))

    code = average([parts[0], other], tmp_path / "mean.safetensors")

    assert code == 2
    assert capsys.readouterr().err == f"segtrain: {other} has another size than {parts[0]}\n"
    assert not (tmp_path / "mean.safetensors").exists()


def test_one_checkpoint_has_no_mean(parts: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = average(parts[:1], tmp_path / "mean.safetensors")

    assert code == 2
    assert capsys.readouterr().err == "segtrain: 1 checkpoint has no mean; name 2 or more\n"


@pytest.mark.parametrize(("data", "complaint"), [("voc:val:nowhere", "nowhere"), ("shapes9:val:2", "other classes")])
def test_what_cannot_be_scored_is_not_written(
    data: str, complaint: str, parts: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = average(parts[:2], tmp_path / "mean.safetensors", "--data", data)

    told = capsys.readouterr().err
    assert code == 2
    assert complaint in told
    assert len(told.splitlines()) == 1
    assert not (tmp_path / "mean.safetensors").exists()


def test_a_part_is_never_replaced_and_another_file_only_if_asked(
    parts: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    there = tmp_path / "mean.safetensors"
    there.write_bytes(b"somebody's")

    codes = [average(parts, there), average(parts, parts[0], "--overwrite"), average(parts, there, "--overwrite")]

    told = capsys.readouterr().err.splitlines()
    assert codes == [2, 2, 0]
    assert "--overwrite replaces it" in told[0]
    assert "is what shall be read" in told[1]
