from dataclasses import replace

from tests.training.html_page import read_page
from tests.training.toy_findings import MARKUP, toy_findings
from training.report_page import draw_page
from training.report_page.tables import DASH, duration


def test_names_are_escaped_wherever_they_stand() -> None:
    page = read_page(draw_page(toy_findings()))

    tags = [name for name, _ in page.elements]
    assert page.misnested == page.opened == []
    assert tags.count("b") == 7 + 1 + 2  # tiles, curve and scored images, but no class
    assert page.text.count(MARKUP) > 10
    assert {f"{name} of {MARKUP}" for name in ("image", "target", "mask")} < set(page.attribute("alt"))


def test_an_absent_class_is_shown_as_dashes() -> None:
    page = read_page(draw_page(toy_findings()))

    assert page.row("dog") == [DASH, DASH, DASH, DASH, "0", DASH]
    assert page.row(MARKUP)[:2] == ["0.7500", "0.7500"]
    assert "the set has no pixel of dog." in page.text


def test_a_run_without_a_best_checkpoint_has_a_dash_for_it() -> None:
    assert read_page(draw_page(toy_findings())).row("best checkpoint") == [DASH]


def test_the_best_checkpoint_is_told_when_it_is_the_last() -> None:
    findings = toy_findings()

    page = read_page(draw_page(replace(findings, best=findings.last)))

    assert page.row("best checkpoint") == [f"mIoU {DASH} when it was saved, the same weights as the last"]


def test_no_home_folder_is_shown() -> None:
    assert read_page(draw_page(toy_findings())).row("command") == ["segtrain fit --out ~/runs"]


def test_times_are_written_for_people() -> None:
    assert [duration(seconds) for seconds in (9.6, 75, 3600, 12345)] == [
        "10 s",
        "1 min 15 s",
        "1 h 0 min",
        "3 h 25 min",
    ]
