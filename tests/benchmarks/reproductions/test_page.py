"""Hold tables, pictures and the page against the results."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.reproductions.page import (
    IMAGES,
    PAGE,
    TEMPLATE,
    found_differences,
    picture,
    render_page,
    section_rows,
    table,
    verdict,
)
from benchmarks.reproductions.plots import draw_section, mean_curve
from benchmarks.reproductions.results import Results
from benchmarks.reproductions.suites import SUITES
from tests.benchmarks.reproductions.tiny import TINY, made_up


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


def test_a_section_of_one_epoch_says_that_it_has_no_curves(tmp_path: Path) -> None:
    results = Results(TINY, tmp_path / "results.json")
    results.add(made_up("zero", 0, 0.5, curve=[[12, 1.0, 0.5]]))

    assert draw_section(results, section_rows(results, "zeros")) is None
    assert picture(results, "zeros").startswith("Every row is one epoch long")


def test_the_page_is_what_the_results_say() -> None:
    found = {name: Results(suite) for name, suite in SUITES.items()}

    pictures = re.findall(r"\(images/([^)]+)\)", PAGE.read_text())

    assert PAGE.read_text() == render_page(found)
    assert [name for name in pictures if not (IMAGES / name).is_file()] == []


def test_the_text_around_the_tables_holds_no_score() -> None:
    assert [word for word in re.findall(r"\d+\.\d+", TEMPLATE.read_text()) if word not in {"0.01", "0.0001"}] == []
