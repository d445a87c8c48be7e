import math
from xml.etree.ElementTree import Element

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.findings import Row
from training.report_page.curves import BOTTOM, HEIGHT, LEFT, MOST_TICKS, RIGHT, TOP, WIDTH, draw_curves, ticks

VALUES = st.floats(-1e12, 1e12).map(lambda value: value if abs(value) > 1e-12 else 0.0)


def drawn_points(rows: list[Row]) -> list[list[tuple[float, float]]]:
    """Give the points of each line that is drawn; y grows downwards."""
    lines: list[Element] = list(draw_curves(rows).iter("polyline"))
    return [
        [(float(x), float(y)) for x, y in (pair.split(",") for pair in line.get("points", "").split())]
        for line in lines
    ]


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (0.0004, 0.0021, [0, 0.0005, 0.001, 0.0015, 0.002, 0.0025]),
        (3, 3, [1.5, 2, 2.5, 3, 3.5, 4, 4.5]),
        (0, 0, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (-1, 1, [-1, -0.5, 0, 0.5, 1]),
        (1, 1.0000000000000002, [0.4, 0.6, 0.8, 1, 1.2, 1.4, 1.6]),
    ],
)
def test_ticks_are_round_numbers(low: float, high: float, expected: list[float]) -> None:
    assert ticks(low, high) == expected


@given(VALUES, VALUES)
def test_ticks_hold_all_values_between_them(one: float, other: float) -> None:
    low, high = min(one, other), max(one, other)

    found = ticks(low, high)

    slack = 1e-6 * (found[-1] - found[0])
    assert 2 <= len(found) <= MOST_TICKS + 2
    assert found[0] - slack <= low <= high <= found[-1] + slack
    assert found == sorted(set(found))


def test_a_curve_goes_through_every_epoch_that_has_a_value() -> None:
    rows: list[Row] = [{"epoch": 1, "loss": 3}, {"epoch": 2, "loss": 1, "val_miou": 0.5}, {"epoch": 3, "loss": 2}]

    loss, miou = drawn_points(rows)

    assert [x for x, _ in loss] == sorted({x for x, _ in loss})
    assert loss[0][1] < loss[2][1] < loss[1][1]
    assert math.isclose(loss[0][1] + loss[1][1], 2 * loss[2][1], abs_tol=0.2)
    assert len(miou) == 1


EXTREMES = (0.0, 5e-324, 1e-310, 1.0, 1.0000000000000002, 1e16, 1e308, -1e308)
ANY = st.sampled_from(EXTREMES) | st.floats(allow_nan=False, allow_infinity=False)


@given(st.lists(st.tuples(ANY, ANY), min_size=1, max_size=4))
def test_any_finite_numbers_are_drawn_inside_the_drawing(values: list[tuple[float, float]]) -> None:
    (line,) = drawn_points([{"epoch": epoch, "loss": loss} for epoch, loss in values])

    assert len(line) == len(values)
    assert all(LEFT <= x <= WIDTH - RIGHT and TOP <= y <= HEIGHT - BOTTOM for x, y in line)


def test_a_column_without_a_value_is_not_drawn() -> None:
    assert drawn_points([{"epoch": 1}, {"epoch": 2}]) == []


def test_a_point_tells_its_epoch_and_value() -> None:
    dots = draw_curves([{"epoch": 7, "lr": 0.001}]).iter("circle")

    assert ["".join(dot.itertext()) for dot in dots] == ["epoch 7: 0.001"]


def test_of_a_long_run_the_last_point_alone_is_marked() -> None:
    rows: list[Row] = [{"epoch": epoch, "loss": 1 / epoch} for epoch in range(1, 301)]

    panels = draw_curves(rows)

    assert len(list(panels.iter("circle"))) == 1
    assert len(drawn_points(rows)[0]) == 300
