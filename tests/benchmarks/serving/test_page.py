"""Hold the page and its pictures against the results that they are made of."""

from __future__ import annotations

from pathlib import Path
from xml.etree.ElementTree import fromstring

import pytest

from benchmarks.serving.page import PAGE, files_of, fill, picture, picture_path
from benchmarks.serving.plots import closed_load, draw, open_load
from benchmarks.serving.results import Results
from tests.benchmarks.serving.made_up import ABOUT, under_load, visit

TEXT = PAGE.read_text(encoding="utf-8")


def test_the_page_says_what_the_results_say() -> None:
    assert fill(TEXT) == TEXT, "run python -m benchmarks.serving.page"


@pytest.mark.parametrize("file", [file for file in files_of(TEXT) if picture(file)], ids=lambda file: file.name)
def test_the_pictures_show_what_the_results_say(file: Path) -> None:
    assert picture_path(file).read_bytes() == picture(file)


def test_a_picture_has_a_bar_for_every_server_that_answered() -> None:
    answers = visit("segserve", 1, eight=under_load(20), share=under_load(16, clients=None))
    refuses = visit("plain", 1, eight=under_load(0), share=under_load(0, p99=None, clients=None))
    results = Results(ABOUT, [answers, refuses])

    drawing = fromstring(draw(results))  # noqa: S314  # our own

    bars = [part for part in drawing.iter() if part.tag.endswith("rect") and part.get("height") == "16"]
    assert (closed_load(results), open_load(results)) == ("8 clients", "80% of capacity")
    assert len(bars) == 3
