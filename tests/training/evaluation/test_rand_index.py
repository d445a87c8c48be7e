from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from training.evaluation.rand_index import RandScore, number_objects, rand_of, rand_score, thin_borders

SMALL = arrays(np.int32, (3, 4), elements=st.integers(0, 3))


def cells(*rows: str) -> NDArray[np.bool_]:
    """Read a drawing in which ``#`` is border."""
    return np.array([[mark != "#" for mark in row] for row in rows])


def pairs_one_by_one(truth: NDArray[np.int32], found: NDArray[np.int32]) -> RandScore:
    """Count all pairs of pixels, a pixel with itself included: how many are together in both, in one, in the other."""
    pixels = [(int(i), int(j)) for i, j in zip(truth.ravel(), found.ravel(), strict=True) if i]
    together = [(a[0] == b[0], a[1] == b[1]) for a, b in product(pixels, pixels)]
    in_both, in_truth, in_found = (
        sum(map(all, together)),
        sum(one for one, _ in together),
        sum(other for _, other in together),
    )
    return RandScore(in_both / in_found, in_both / in_truth, 2 * in_both / (in_truth + in_found))


@given(SMALL.filter(np.any), SMALL)
@settings(deadline=None)
def test_the_score_is_that_of_all_pairs_of_pixels(truth: NDArray[np.int32], found: NDArray[np.int32]) -> None:
    scored, counted = rand_of(truth, found), pairs_one_by_one(truth, found)

    assert (scored.merge, scored.split, scored.both) == pytest.approx((counted.merge, counted.split, counted.both))


@given(SMALL.filter(np.any), SMALL)
@settings(deadline=None)
def test_the_score_of_both_is_between_0_and_1_and_between_its_parts(
    truth: NDArray[np.int32], found: NDArray[np.int32]
) -> None:
    scored = rand_of(truth, found)

    low, high = sorted([scored.merge, scored.split])
    assert 0 < low <= scored.both + 1e-12 <= high + 2e-12 <= 1 + 3e-12


def test_what_is_found_exactly_scores_1() -> None:
    truth = cells("..#..", "..#..", "#####", ".....")

    assert rand_score(truth, truth) == RandScore(1, 1, 1)


def test_a_border_may_be_wider_than_the_true_one() -> None:
    truth = cells("....#....", "....#....")
    wide = cells("..#####..", "..#####..")

    assert rand_score(truth, wide).both == 1


def test_a_border_that_is_open_joins_two_objects() -> None:
    truth = cells("..#..", "..#..", "..#..")
    open_border = cells("..#..", ".....", "..#..")

    assert rand_score(truth, open_border) == RandScore(merge=0.5, split=1, both=2 / 3)


def test_a_border_that_is_not_there_parts_an_object() -> None:
    truth = cells("....", "....")
    border = cells(".#..", ".#..")

    assert rand_score(truth, border).merge == 1
    assert rand_score(truth, border).split < 1


def test_objects_that_touch_at_a_corner_are_two() -> None:
    assert number_objects(cells(".#", "#.")).max() == 2


def test_without_any_object_found_all_pixels_are_joined() -> None:
    truth = cells("..#..")

    assert rand_score(truth, cells("#####")) == RandScore(merge=0.5, split=1, both=2 / 3)


def test_every_pixel_of_a_border_goes_to_the_nearest_object() -> None:
    objects = np.array([[1, 0, 0, 0, 0, 2]], np.int32)

    assert thin_borders(objects).tolist() == [[1, 1, 1, 2, 2, 2]]


def test_a_truth_without_objects_cannot_be_compared_with() -> None:
    with pytest.raises(ValueError, match="no true object"):
        rand_score(cells("##"), cells(".."))
