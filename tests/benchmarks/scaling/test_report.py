from __future__ import annotations

from xml.etree.ElementTree import fromstring

from benchmarks.scaling.plots import draw
from benchmarks.scaling.report import NOT_MEASURED, RATES, WORKLOADS, render, sizing
from benchmarks.scaling.results import Results
from benchmarks.serving.rows import REFERENCE
from tests.benchmarks.scaling.made_up import results
from tests.benchmarks.serving.made_up import ABOUT


def test_the_report_has_a_table_for_every_part_that_was_measured() -> None:
    text = render(results())

    assert [part for part in ("clients", "sizes", "classes", "models") if f"**{part}**" in text] == [
        "clients",
        "sizes",
        "models",
    ]


def test_what_is_refused_first_is_told() -> None:
    assert "From 128 clients on it refuses with 503" in render(results())


def test_nothing_is_said_of_a_gpu_that_was_not_measured() -> None:
    lines = sizing(results(), [REFERENCE]).splitlines()[4:]

    assert len(lines) == len(WORKLOADS)
    assert all(NOT_MEASURED in line for line in lines)
    assert all(line.count("|") == 8 + len(RATES) for line in lines)


def test_a_run_that_has_just_begun_can_be_told_and_drawn() -> None:
    assert render(Results(ABOUT))
    assert fromstring(draw(Results(ABOUT))) is not None  # noqa: S314  # our own


def test_a_picture_has_four_panels_for_each_part() -> None:
    drawing = fromstring(draw(results()))  # noqa: S314  # our own

    titles = [part.text for part in drawing.iter() if part.tag.endswith("text") and part.text == "images/s"]
    assert len(titles) == 3  # clients, sizes and models
