from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from training.datasets.isbi2012 import ISBI2012
from training.datasets.sample import Target
from training.losses.boundary_weights import Distances, boundary_weights

ISBI = Path(__file__).parents[4] / "shared" / "data" / "isbi2012"
needs_isbi = pytest.mark.skipif(not ISBI.is_dir(), reason="ISBI 2012 is not in ../shared/data")


ONES = (1.0, 1.0, 1.0)


def brute_force(target: Target, *, w0: float, sigma: float) -> Distances:
    """Give equation 2 with w_c = 1, by the distance of every pixel of the ground to every pixel of every object."""
    places = np.moveaxis(np.indices(target.shape).astype(np.float64), 0, -1)  # [H, W, 2]
    distances = [
        np.linalg.norm(places[:, :, None] - np.array(part, dtype=np.float64), axis=-1).min(axis=-1)
        for part in objects(target)
    ]
    infinite = np.full((2, *target.shape), np.inf)
    d1, d2 = np.sort([*infinite, *distances], axis=0)[:2]
    weights: Distances = np.where(
        target == 0, 1 + w0 * np.exp(-((d1 + d2) ** 2) / (2 * sigma**2)), target != 255
    ).astype(np.float32)
    return weights


def objects(target: Target) -> list[list[tuple[int, int]]]:
    """Give the pixels of each part of one class whose pixels are joined by their sides."""
    left = {(y, x) for y, x in np.argwhere((target != 0) & (target != 255)).tolist()}
    parts = []
    while left:
        part, edge = [], [left.pop()]
        while edge:
            y, x = edge.pop()
            part.append((y, x))
            near = {
                place
                for place in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1))
                if place in left and target[place] == target[y, x]
            }
            left -= near
            edge.extend(near)
        parts.append(part)
    return parts


@settings(deadline=None)
@given(
    arrays.arrays(
        np.uint8,
        arrays.array_shapes(min_dims=2, max_dims=2, max_side=14),
        elements=st.sampled_from([0, 0, 0, 1, 2, 255]),
    )
)
def test_weights_are_those_of_the_formula(target: Target) -> None:
    weights = boundary_weights(target, w0=10, sigma=5, class_weights=ONES)

    np.testing.assert_allclose(weights, brute_force(target, w0=10, sigma=5), rtol=1e-5)


def test_what_lies_out_of_reach_is_less_than_a_hundredth() -> None:
    target = np.zeros((60, 90), np.uint8)
    target[5:20, 3:8], target[30:32, 40:42], target[50:, 70:] = 1, 1, 2

    weights = boundary_weights(target, sigma=5, class_weights=ONES)

    np.testing.assert_allclose(weights, brute_force(target, w0=10, sigma=5), atol=0.01)


def test_the_ground_between_two_cells_weighs_most() -> None:
    target = np.ones((20, 41), np.uint8)
    target[:, 20] = 0

    weights = boundary_weights(target, class_weights=ONES)

    assert weights[:, 20] == pytest.approx(1 + 10 * np.exp(-(2**2) / 50))
    assert (weights[:, :20] == 1).all()


def test_a_single_object_has_no_gap_to_anything() -> None:
    target = np.zeros((20, 20), np.uint8)
    target[4:9, 4:9] = 1

    assert (boundary_weights(target, class_weights=ONES) == 1).all()


def test_any_class_can_be_the_ground() -> None:
    target = np.ones((20, 41), np.uint8)
    target[:, 20] = 0

    weights = boundary_weights(1 - target, ground=1, class_weights=ONES)

    assert np.array_equal(weights, boundary_weights(target, class_weights=ONES))


def test_classes_weigh_the_same_in_sum_and_pixels_one_on_average() -> None:
    target = np.zeros((10, 10), np.uint8)
    target[0], target[1, :5], target[9] = 3, 4, 255

    weights = boundary_weights(target, w0=0)

    sums = [weights[target == label].sum() for label in (0, 3, 4)]
    assert sums == pytest.approx([30, 30, 30])
    assert not weights[target == 255].any()


def test_an_unlabelled_target_weighs_nothing() -> None:
    assert not boundary_weights(np.full((8, 8), 255, np.uint8)).any()


@needs_isbi
@pytest.mark.data
def test_membranes_of_a_real_slice_outweigh_its_cells() -> None:
    target = ISBI2012(ISBI, "val")[0].target

    weights = boundary_weights(target)

    assert weights.dtype == np.float32
    assert weights[target == 0].min() > weights[target == 1].max()
    assert 10 < weights.max() < 13
    assert np.unique(weights[target == 1]).size == 1
