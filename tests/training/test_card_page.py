import math
from dataclasses import replace

import pytest

from model_zoo.card import InitialWeights
from tests.training.toy_findings import toy_findings
from training.card_page import escape, write_card
from training.report_page.tables import DASH


def cells(card: str, head: str) -> list[str]:
    """Give the cells of the first row of a table that begins so."""
    line = next(line for line in card.splitlines() if line.startswith(f"| {head} |"))
    return [cell.strip() for cell in line.strip("| ").split(" | ")]


def test_the_card_tells_the_scores_with_set_number_and_resolution() -> None:
    findings = toy_findings()

    card = write_card(findings).decode()

    expected = f"{findings.found.scores.mean_iou:.4f}"
    assert cells(card, "mIoU") == ["mIoU", expected, escape(findings.val_name), "2", "original"]
    assert f"mIoU **{expected}** (95 % interval of the bootstrap: 0.2500 to 0.7500) over 2 images" in card


def test_names_stay_inside_their_cells() -> None:
    card = write_card(toy_findings()).decode()

    assert "<b>" not in card
    assert '| &lt;b&gt;&amp;"x\\|y | 0.7500 | 0.7500 |' in card


def test_absent_classes_are_told_and_have_no_score() -> None:
    card = write_card(toy_findings()).decode()

    assert cells(card, "dog") == ["dog", DASH, DASH, DASH]
    assert "Nothing is known of dog:" in card


def test_the_worst_classes_are_told() -> None:
    assert 'It comes out worst for &lt;b&gt;&amp;"x\\|y (0.7500).' in write_card(toy_findings()).decode()


def test_a_best_checkpoint_that_is_another_is_told() -> None:
    findings = toy_findings()
    best = findings.last.model_copy(update={"sha256": "1" * 64})

    card = write_card(replace(findings, best=best)).decode()

    assert math.isnan(findings.best_iou)
    assert "not the one that did best on these images" in card


def test_the_card_says_how_to_use_and_to_make_it_again() -> None:
    card = write_card(toy_findings()).decode()

    assert "segserve serve --checkpoints checkpoint-last.safetensors\n" in card
    assert "segtrain evaluate checkpoint-last.safetensors --data shapes:val" in card
    assert "segtrain fit --out ~/runs" in card
    assert "It took 1 min 30 s." in card


BREAKOUT = "a\n````\n<img src=x>\n```"


def test_a_command_stays_inside_its_fence_on_one_line() -> None:
    findings = toy_findings()
    training = findings.last.training.model_copy(update={"command": f"segtrain fit --description '{BREAKOUT}'"})

    card = write_card(replace(findings, last=findings.last.model_copy(update={"training": training}))).decode()

    assert "\n`````sh\nsegtrain fit --description 'a ```` <img src=x> ```'\n`````\n" in card


def test_the_name_of_a_dataset_stays_inside_its_fence_on_one_line_and_is_one_word() -> None:
    findings = toy_findings()
    recipe = findings.recipe.model_copy(update={"val": f"folder:val:{BREAKOUT}"})

    card = write_card(replace(findings, recipe=recipe)).decode()

    assert "\n`````sh\nsegserve serve" in card
    assert "--data 'folder:val:a ```` <img src=x> ```'\n`````\n" in card


def test_the_name_of_initial_weights_stays_inside_its_marks() -> None:
    findings = toy_findings()
    initial = InitialWeights(name="a`<b>`.pth", sha256="0" * 64)
    training = findings.last.training.model_copy(update={"initial_weights": initial})

    card = write_card(replace(findings, last=findings.last.model_copy(update={"training": training}))).decode()

    assert "Training started from a\\`&lt;b&gt;\\`.pth (unknown)." in card


@pytest.mark.parametrize("start", ["~~~", "# ", "- ", "+ ", "==="])
def test_a_text_does_not_begin_a_block(start: str) -> None:
    assert escape(f"{start}a") == f"\\{start}a"


def test_a_text_is_one_line_without_marks() -> None:
    assert escape("a\n*b* `c` [d](e) \\ <f>") == "a \\*b\\* \\`c\\` \\[d\\](e) \\\\ &lt;f&gt;"
