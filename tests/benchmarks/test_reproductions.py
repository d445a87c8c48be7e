"""Run rows of the reproductions at a size of seconds, and hold the page against the results."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.reproductions.__main__ import main, run_all
from benchmarks.reproductions.page import (
    IMAGES,
    PAGE,
    TEMPLATE,
    found_differences,
    render_page,
    section_rows,
    table,
    verdict,
)
from benchmarks.reproductions.plots import draw_section, mean_curve
from benchmarks.reproductions.results import Results
from benchmarks.reproductions.runner import changed_recipes, run_row, settings_of
from benchmarks.reproductions.suites import PLAIN, SECTIONS, SHAPES, STITCHED, SUITES, Row, Suite
from model_zoo.architectures import build

TINY = replace(
    SHAPES,
    name="tiny",
    changes={"train": ["shapes9:train:48"], "val": "shapes9:val:16", "steps": 12},
    seeds=(0,),
    val_steps=6,
    shift_step=32,
)
"""Rows of seconds: long enough to see which weights move, too short to learn anything."""

QUICK = replace(
    SHAPES,
    name="quick",
    changes={"train": ["shapes9:train:640"], "val": "shapes9:val:60", "steps": 160, "lr": 2e-3},
    val_steps=160,
)
"""Rows of a quarter of a minute: long enough to tell a loader that sees 55 images from one that sees 640."""

EVERY_ROW = [pytest.param(suite, row, id=f"{suite.name}-{row.name}") for suite in SUITES.values() for row in suite.rows]


def run(row: str, out: Path, *, suite: Suite = TINY) -> dict[str, Any]:
    return run_row(suite, suite.row(row), 0, out)


def made_up(row: str, seed: int, miou: float, **changes: object) -> dict[str, Any]:
    """Give a result that says just enough, of today's settings."""
    score = {"miou": miou, "legacy_fg_iou_13": 0.5}
    return {
        "row": row,
        "seed": seed,
        "recipe": settings_of(TINY, TINY.row(row), seed),
        "commit": "0" * 40,
        "environment": {"CPU": "abacus", "torch": "9.9", "threads": "1"},
        "scores": {PLAIN: score, STITCHED: score},
        "first_train_miou": 0.25,
        "curve": [[6, 2.0, None], [12, 1.0, miou]],
        "last_loss": 1.0,
        "train_seconds": 60.0,
        "score_seconds": 1.0,
        "unmoved": [],
        **changes,
    }


@pytest.mark.parametrize(("suite", "row"), EVERY_ROW)
def test_every_row_is_a_network_that_can_be_built(suite: Suite, row: Row, tmp_path: Path) -> None:
    recipes = list(changed_recipes(suite, row, 0, tmp_path))

    with torch.device("meta"):
        networks = [build(recipe.architecture, 9, recipe.arguments) for recipe in recipes]

    assert len(networks) == len(row.stages)


@pytest.mark.parametrize(("suite", "row"), EVERY_ROW)
def test_every_row_has_the_steps_of_its_base(suite: Suite, row: Row, tmp_path: Path) -> None:
    (base,) = changed_recipes(suite, suite.row("base"), 0, tmp_path)

    recipes = list(changed_recipes(suite, row, 0, tmp_path))

    assert sum(recipe.steps or 0 for recipe in recipes) == base.steps
    assert {recipe.batch_size for recipe in recipes} == {base.batch_size}


@pytest.mark.parametrize("suite", SUITES.values(), ids=SUITES)
def test_rows_have_names_of_their_own_and_effects_speak_of_rows(suite: Suite) -> None:
    names = [row.name for row in suite.rows]

    named = {name for effect in suite.effects for pair in effect.pairs for name in pair}

    assert len(set(names)) == len(names)
    assert named <= set(names)
    assert {row.section for row in suite.rows} == {effect.section for effect in suite.effects} == set(SECTIONS)


def test_of_three_factors_each_is_compared_in_all_settings_of_the_other_two() -> None:
    loader = [effect for effect in SHAPES.effects if effect.section == "loader"]

    pairs = [{frozenset(first.split("+")) ^ frozenset(second.split("+")) for first, second in e.pairs} for e in loader]

    assert [len(effect.pairs) for effect in loader] == [4, 4, 4]
    changed = [set.intersection(*(set(one) - {"base"} for one in found)) for found in pairs]
    assert changed == [{"sliding"}, {"bn-relu"}, {"wide"}]


def test_a_stage_begins_with_the_weights_of_the_one_before(tmp_path: Path) -> None:
    recipes = list(changed_recipes(TINY, TINY.row("staged"), 0, tmp_path))

    assert [recipe.architecture for recipe in recipes] == ["fcn32s", "fcn16s", "fcn8s"]
    assert [recipe.init_from and Path(recipe.init_from).parent.name for recipe in recipes] == [
        None,
        "stage-1",
        "stage-2",
    ]


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
    assert steps[-1] == 12
    assert (tmp_path / "tiny" / "staged-0" / "stage-3" / "checkpoint-last.safetensors").is_file()


def test_row_14_a_row_of_jitter_is_scored_in_two_views(tmp_path: Path) -> None:
    found = run("fcn32s-jitter", tmp_path)

    assert list(found["scores"]) == [PLAIN, STITCHED]
    assert {score["num_images"] for score in found["scores"].values()} == {16}


def test_a_row_that_has_been_run_is_not_trained_again(tmp_path: Path) -> None:
    first = run("data-half", tmp_path)
    state = (tmp_path / "tiny" / "data-half-0" / "stage-1" / "state").stat().st_mtime_ns

    again = run("data-half", tmp_path)

    same = {"scores", "curve", "train_seconds", "unmoved", "first_train_miou", "recipe"}
    assert {name: again[name] for name in same} == {name: first[name] for name in same}
    assert (tmp_path / "tiny" / "data-half-0" / "stage-1" / "state").stat().st_mtime_ns == state


def test_a_loader_that_slides_by_one_image_learns_a_few_images_by_heart(tmp_path: Path) -> None:
    shuffled, sliding = (run(row, tmp_path, suite=QUICK) for row in ("base", "sliding"))

    assert sliding["first_train_images"] == 640 // 16 + 16 - 1
    assert sliding["scores"][PLAIN]["miou"] < shuffled["scores"][PLAIN]["miou"] - 0.05
    assert sliding["first_train_miou"] > sliding["scores"][PLAIN]["miou"] + 0.2
    assert sliding["last_loss"] < shuffled["last_loss"]


def test_results_are_read_back_and_those_of_other_settings_left_out(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    results = Results(TINY, path)
    results.add(made_up("base", 0, 0.5))
    results.add(made_up("base", 1, 0.6))

    again, longer = Results(TINY, path), Results(replace(TINY, val_steps=7), path)

    assert again.mious("base") == {0: 0.5, 1: 0.6}
    assert again.has("base", 1)
    assert not longer.has("base", 1)


def test_a_row_is_told_by_the_mean_and_the_range_of_its_seeds(tmp_path: Path) -> None:
    results = Results(TINY, tmp_path / "results.json")
    results.add(made_up("zero", 0, 0.5))
    results.add(made_up("zero", 1, 0.6))

    lines = table(results, "zeros").splitlines()

    told = "| `zero` | `score_init = zero` | 0, 1 | 0.550 | 0.500 ... 0.600 | 0.500 | 0.250 | 1.000 | 1.0 |"
    assert told in lines
    assert sum("not run" in line for line in lines) == len(section_rows(results, "zeros")) - 1


def test_differences_are_between_runs_of_the_same_seed(tmp_path: Path) -> None:
    results = Results(TINY, tmp_path / "results.json")
    for row, seed, miou in (("base", 0, 0.5), ("base", 1, 0.7), ("data-half", 1, 0.4), ("data-half", 2, 0.1)):
        results.add(made_up(row, seed, miou))
    (effect,) = (effect for effect in TINY.effects if effect.pairs == (("base", "data-half"),))

    assert found_differences(results, effect) == pytest.approx([0.3])


@pytest.mark.parametrize(
    ("differences", "told"),
    [
        ([0.3], "one pair of runs: a pointer, no more"),
        ([0.3, 0.02], "shown: more every time"),
        ([-0.3, -0.02], "shown: less every time"),
        ([0.004, -0.01], "no difference above 0.01"),
        ([0.3, 0.01], "not shown: it depends on the seed or on what else is chosen"),
        ([0.3, -0.3], "not shown: it depends on the seed or on what else is chosen"),
    ],
)
def test_a_verdict_needs_a_difference_of_one_direction(differences: list[float], told: str) -> None:
    assert verdict(differences) == told


def test_curves_are_means_over_seeds_and_drawn_where_there_are_any(tmp_path: Path) -> None:
    results = Results(TINY, tmp_path / "results.json")
    before = draw_section(results, section_rows(results, "zeros"))
    results.add(made_up("zero", 0, 0.5))
    results.add(made_up("zero", 1, 0.6))

    after = draw_section(results, section_rows(results, "zeros"))

    assert before is None
    assert after is not None
    assert after.count(b"<polyline") == 3  # loss, mIoU and the legend's line
    ((step, miou),) = mean_curve(results, TINY.row("zero"), place=2)
    assert (step, round(miou, 9)) == (12, 0.55)


def test_the_page_is_what_the_results_say() -> None:
    found = {name: Results(suite) for name, suite in SUITES.items()}

    pictures = re.findall(r"\(images/([^)]+)\)", PAGE.read_text())

    assert PAGE.read_text() == render_page(found)
    assert [name for name in pictures if not (IMAGES / name).is_file()] == []


def test_the_text_around_the_tables_holds_no_score() -> None:
    assert [word for word in re.findall(r"\d+\.\d+", TEMPLATE.read_text()) if word not in {"0.01", "0.0001"}] == []


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
