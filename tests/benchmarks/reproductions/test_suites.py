from __future__ import annotations

from pathlib import Path

import pytest
import torch

from benchmarks.reproductions.runner import changed_recipes
from benchmarks.reproductions.suites import SECTIONS, SHAPES, SUITES, Row, Suite
from model_zoo.architectures import build
from tests.benchmarks.reproductions.tiny import TINY

EVERY_ROW = [pytest.param(suite, row, id=f"{suite.name}-{row.name}") for suite in SUITES.values() for row in suite.rows]


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
    assert {row.section for row in suite.rows} == {effect.section for effect in suite.effects}


def test_every_section_has_rows() -> None:
    assert {row.section for suite in SUITES.values() for row in suite.rows} == set(SECTIONS)


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
