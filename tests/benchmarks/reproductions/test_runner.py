"""Run rows at a size of seconds."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.reproductions.__main__ import main, run_all
from benchmarks.reproductions.results import Results
from benchmarks.reproductions.runner import run_row, settings_of, stage_recipes
from benchmarks.reproductions.suites import PLAIN, SHAPES, STITCHED, Suite
from tests.benchmarks.reproductions.tiny import TINY

QUICK = replace(
    SHAPES,
    name="quick",
    changes={"train": ["shapes9:train:160"], "val": "shapes9:val:30", "steps": 80, "batch_size": 8, "lr": 2e-3},
    val_steps=80,
)
"""Rows of ten seconds: long enough to tell a loader that sees 27 images from one that sees 160."""


def run(row: str, out: Path, *, suite: Suite = TINY) -> dict[str, Any]:
    return run_row(suite, suite.row(row), 0, out)


@pytest.mark.parametrize(
    ("row", "unmoved"),
    [
        ("base", []),
        ("zero", []),
        ("zero-twice", ["fc6", "fc7", "score.weight"]),
        ("zero+bn-relu", ["fusions.0.score.0", "fusions.0.score.1", "fusions.1.score.0", "fusions.1.score.1"]),
    ],
)
def test_row_8_what_starts_at_zero_twice_or_before_a_relu_never_moves(
    row: str, unmoved: list[str], tmp_path: Path
) -> None:
    assert run(row, tmp_path)["unmoved"] == unmoved


def test_row_8_with_norm_and_relu_behind_all_zero_scores_the_loss_stays_where_it_is(tmp_path: Path) -> None:
    found = run("zero+bn-relu-all", tmp_path)

    assert [loss for _, loss, _ in found["curve"]] == pytest.approx([math.log(9)] * len(found["curve"]), abs=1e-5)
    assert "upscore.8" in found["unmoved"]


def test_row_3_stages_have_one_curve_and_end_as_fcn8s(tmp_path: Path) -> None:
    found = run("staged", tmp_path)

    steps = [step for step, _, _ in found["curve"]]
    assert steps == sorted(steps)
    assert steps[-1] == 6
    assert (tmp_path / "tiny" / "staged-0" / "stage-3" / "checkpoint-last.safetensors").is_file()


def test_row_14_a_row_of_jitter_is_scored_in_two_views(tmp_path: Path) -> None:
    found = run("fcn32s-jitter", tmp_path)

    assert list(found["scores"]) == [PLAIN, STITCHED]
    assert {score["num_images"] for score in found["scores"].values()} == {8}


def test_a_row_that_has_been_run_is_not_trained_again(tmp_path: Path) -> None:
    first = run("data-half", tmp_path)
    state = (tmp_path / "tiny" / "data-half-0" / "stage-1" / "state").stat().st_mtime_ns

    again = run("data-half", tmp_path)

    same = {"scores", "curve", "train_seconds", "unmoved", "first_train_miou", "recipe"}
    assert {name: again[name] for name in same} == {name: first[name] for name in same}
    assert (tmp_path / "tiny" / "data-half-0" / "stage-1" / "state").stat().st_mtime_ns == state


@pytest.mark.parametrize(
    ("change", "is_the_same"),
    [({"description": "Other words."}, True), ({"licences": {"shapes9": "CC0"}}, True), ({"lr": 0.1}, False)],
)
def test_a_result_is_known_by_what_was_done_and_not_by_words(change: dict[str, Any], is_the_same: bool) -> None:
    changed = replace(TINY, changes={**TINY.changes, **change})

    assert (settings_of(changed, TINY.row("base"), 0) == settings_of(TINY, TINY.row("base"), 0)) == is_the_same


def test_epochs_between_validations_are_counted_over_all_datasets(tmp_path: Path) -> None:
    both = replace(TINY, changes={**TINY.changes, "train": ["shapes9:train:4", "shapes:train:8"]}, val_steps=6)

    (recipe,) = stage_recipes(both, TINY.row("base"), 0, tmp_path)

    assert recipe.validate_every == 2  # 12 images are 3 steps of 4


def test_a_loader_that_slides_by_one_image_learns_a_few_images_by_heart(tmp_path: Path) -> None:
    shuffled, sliding = (run(row, tmp_path, suite=QUICK) for row in ("base", "sliding"))

    assert sliding["first_train_images"] == 160 // 8 + 8 - 1
    assert sliding["scores"][PLAIN]["miou"] < shuffled["scores"][PLAIN]["miou"] - 0.03
    assert sliding["first_train_miou"] > sliding["scores"][PLAIN]["miou"] + 0.2
    assert sliding["last_loss"] < shuffled["last_loss"]


@pytest.mark.parametrize(
    "words", [["--only", "nothing"], ["--only", "base", "--results", "no/such/folder/results.json"]]
)
def test_what_cannot_be_run_is_told_in_one_line(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(["--suite", "small", "--out", str(tmp_path), *words])

    assert code == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_rows_run_in_processes_of_their_own(tmp_path: Path) -> None:
    tasks = [("data-eighth", 0), ("data-eighth", 1)]
    results = Results(TINY, tmp_path / "results.json")

    for result in run_all(TINY, tasks, out=tmp_path, jobs=2, threads=1):
        results.add(result)

    first, second = Results(TINY, tmp_path / "results.json").of("data-eighth")
    assert (first["seed"], second["seed"]) == (0, 1)
    assert first["environment"]["threads"] == "1"
    assert first["curve"] != second["curve"]
