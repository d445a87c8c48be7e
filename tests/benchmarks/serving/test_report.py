"""Hold ratios and tables against results that were made up."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.serving.report import failed_share, failures, render, spread, starts, table
from benchmarks.serving.results import Results
from benchmarks.serving.stage_report import render as render_stages
from tests.benchmarks.serving.made_up import ABOUT, under_load, visit


@pytest.fixture
def results() -> Results:
    return Results(
        ABOUT,
        [
            visit("segserve", 0, agreement=1.0, eight=under_load(500)),
            visit("plain", 0, agreement=0.995, eight=under_load(5)),
            visit("segserve", 1, eight=under_load(20), open=under_load(9, p99=0.2, clients=None)),
            visit("plain", 1, eight=under_load(10), open=under_load(9, p99=0.4, clients=None)),
            visit("plain", 2, eight=under_load(16, failed=10), open=under_load(9, p99=None, clients=None)),
            visit("segserve", 2, eight=under_load(24), open=under_load(9, p99=0.2, clients=None)),
        ],
    )


def test_ratios_are_taken_within_a_round(results: Results) -> None:
    assert results.ratios("segserve", "plain", "8 clients", "images_per_second") == [2.0, 1.5]
    assert results.ratios("plain", "segserve", "open", "p99") == [2.0]
    assert results.ratios("segserve", "litserve", "open", "p99") == []


def test_the_trial_tells_of_the_slowest_and_counts_for_nothing_else(results: Results) -> None:
    assert results.slowest_trial() == 5
    assert results.values("segserve", "8 clients", "images_per_second") == {1: 20, 2: 24}
    assert Results(ABOUT, results.visits[2:]).slowest_trial() is None


def test_a_closed_loop_is_told_by_how_many_times_as_much_this_service_answers(results: Results) -> None:
    lines = [[cell.strip() for cell in line.split("|")] for line in table(results, "8 clients").splitlines()]

    assert lines[0][-2] == "`segserve` / it"
    assert lines[2][1:3] == ["`segserve`", "22.0 (20.0 to 24.0)"]
    assert lines[3][1:3] == ["`plain`", "13.0 (10.0 to 16.0)"]
    assert lines[3][5:8] == ["5.0%", "42.2 (40.0 to 44.4)", "0.21"]
    assert lines[3][-2] == "1.75 (1.50 to 2.00)"


def test_an_open_loop_is_told_by_how_much_longer_its_slowest_wait(results: Results) -> None:
    lines = [[cell.strip() for cell in line.split("|")] for line in table(results, "open").splitlines()]

    assert lines[0][-2] == "p99 / `segserve`'s"
    assert lines[3][4] == "inf (400 to inf)"
    assert lines[3][-2] == "2.00"


def test_what_failed_is_named_and_counted(results: Results) -> None:
    results.visits.append({**visit("plain", 3), "error": "NotReady: it ended\nwith a long story"})

    assert failed_share(results, "plain", "8 clients") == 0.05
    assert failures(results).splitlines()[2:] == [
        "- `plain`, round 2, 8 clients: 10 x status 503",
        "- `plain`, round 3: NotReady: it ended",
    ]
    assert "`plain`" in render(results)


def test_masks_are_told_by_the_share_of_pixels_that_are_equal(results: Results) -> None:
    lines = starts(results).splitlines()

    assert "100.000%" in lines[2]
    assert "99.500%" in lines[3]


def test_results_are_read_back_as_they_were_written(results: Results, tmp_path: Path) -> None:
    results.write(tmp_path / "results.json")

    again = Results.read(tmp_path / "results.json")

    assert (again.about, again.visits) == (results.about, results.visits)


@pytest.mark.parametrize(
    ("values", "told"), [([], ""), ([2.0], "2.0"), ([1.0, 4.0, 2.0], "2.0 (1.0 to 4.0)"), ([2.0, 2.0], "2.0")]
)
def test_a_spread_is_the_median_and_the_range(values: list[float], told: str) -> None:
    assert spread(values, ".1f") == told


def test_stages_and_roofline_are_told_by_ratios_within_a_round() -> None:
    found = {
        "about": ABOUT,
        "stages": {"voc": {"decode": {"service": [2.0, 3.0], "Pillow, in full": [4.0, 4.0]}}},
        "http": [{"empty route": {"8 clients": under_load(900)}}],
        "roofline": [
            {
                "images": "voc",
                "row": "segserve",
                "round": number,
                "bare": {"1": 10.0, "8": best},
                "visit": {"loads": {"64 clients": under_load(18, clients=64)}},
            }
            for number, best in ((1, 20.0), (2, 18.0))
        ],
    }

    told = render_stages(found)

    assert "0.62 (0.50 to 0.75)" in told
    assert "0.950 (0.900 to 1.000)" in told
    assert "900" in told
