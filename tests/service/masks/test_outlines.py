import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray
from scipy import ndimage

from service.masks.outlines import Ring, find_areas, rings_of

BITS = arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, max_side=20), elements=st.booleans())


def signed_area(ring: Ring) -> float:
    """Give the area inside a ring, below 0 if it runs round a hole."""
    x, y = ring[:, 0], ring[:, 1]
    return float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2


@given(BITS)
def test_filled_outlines_give_the_very_pixels(is_inside: NDArray[np.bool_]) -> None:
    filled = np.zeros((is_inside.shape[0], is_inside.shape[1] + 1), np.int64)
    for area in find_areas(is_inside):
        for ring in rings_of(area):
            for (x, y), (_, next_y) in zip(ring[1::2], np.roll(ring, -1, axis=0)[1::2], strict=True):
                filled[min(y, next_y) : max(y, next_y), x] += np.sign(y - next_y)  # going up, inside is to the right

    np.testing.assert_array_equal(np.cumsum(filled, axis=1)[:, :-1], is_inside)


@given(BITS)
def test_there_is_one_area_for_each_connected_one(is_inside: NDArray[np.bool_]) -> None:
    numbers, num_areas = ndimage.label(is_inside)

    found = find_areas(is_inside)

    sizes = [int(sum(map(signed_area, rings_of(area)))) for area in found]
    assert sizes == np.bincount(numbers.ravel(), minlength=num_areas + 1)[1:].tolist()
    assert all(signed_area(area.outline) > 0 for area in found)
    assert all(signed_area(hole) < 0 for area in found for hole in area.holes)


@given(BITS)
def test_no_vertex_lies_on_a_straight_line(is_inside: NDArray[np.bool_]) -> None:
    for area in find_areas(is_inside):
        for ring in rings_of(area):
            steps = np.roll(ring, -1, axis=0) - ring
            assert (steps[::2, 1] == 0).all()
            assert (steps[1::2, 0] == 0).all()
            assert (np.abs(steps).sum(axis=1) > 0).all()


@pytest.mark.parametrize(
    ("rows", "num_holes"), [(["###", "#.#", "###"], [1]), (["##.", "#.#", "###"], [0]), (["#.", ".#"], [0, 0])]
)
def test_areas_that_touch_in_a_vertex_alone_are_apart(rows: list[str], num_holes: list[int]) -> None:
    is_inside = np.array([[character == "#" for character in row] for row in rows])

    assert [len(area.holes) for area in find_areas(is_inside)] == num_holes


def test_nothing_has_no_outline() -> None:
    assert find_areas(np.zeros((3, 4), np.bool_)) == []
