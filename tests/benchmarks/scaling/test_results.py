from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.scaling.points import PARTS, Point, points
from benchmarks.scaling.results import Results
from benchmarks.serving.rows import REFERENCE
from tests.benchmarks.scaling.made_up import found
from tests.benchmarks.serving.made_up import ABOUT

POINT = Point("sizes", REFERENCE, "4 MP", 4, "4mp", "default", (1, 4), {"max_image_pixels": "51000000"})


def test_a_point_that_was_kept_is_known_when_the_file_is_read_again(tmp_path: Path) -> None:
    kept = Results(ABOUT)
    kept.add(POINT, 1, found(POINT))

    kept.write(tmp_path / "scale.json")

    again = Results.read(tmp_path / "scale.json")
    assert again.has(POINT, 1)
    assert not again.has(POINT, 2)
    assert not again.has(replace(POINT, settings={}), 1)


def test_a_point_that_could_not_be_measured_is_measured_again() -> None:
    kept = Results(ABOUT)

    kept.add(POINT, 1, {**found(POINT), "error": "NotReady"})

    assert not kept.has(POINT, 1)
    assert kept.seen("sizes") == []


def test_rounds_are_told_by_their_median() -> None:
    kept = Results(ABOUT)
    for number, rate in enumerate((10.0, 30.0, 20.0), start=1):
        visit = found(POINT)
        visit["loads"]["4 clients"]["images_per_second"] = rate
        kept.add(POINT, number, visit)

    one, four = kept.seen("sizes")

    assert (one.clients, four.clients) == (1, 4)
    assert four.value("images_per_second") == 20
    assert four.megapixels == 4


def test_what_was_refused_is_told_from_what_failed() -> None:
    kept, visit = Results(ABOUT), found(POINT, refused=30)
    visit["loads"]["4 clients"]["failures"] = {"status 503": 30, "no answer": 20}
    kept.add(POINT, 1, visit)

    seen = kept.seen("sizes")[1]

    assert seen.share(refused=True) == pytest.approx(30 / 120)
    assert seen.share(refused=False) == pytest.approx(20 / 120)


def test_every_point_differs_from_every_other() -> None:
    all_points = [str(point) for point in points(list(PARTS))]

    assert len(set(all_points)) == len(all_points)
