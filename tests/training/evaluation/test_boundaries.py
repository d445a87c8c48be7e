import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from training.evaluation.boundaries import BoundaryMatrix, boundary_width, near_boundary

LABELS = arrays(np.uint8, (9, 8), elements=st.integers(0, 2))


def eroded(region: np.ndarray, width: int) -> np.ndarray:
    """Erode as the paper's code does: by 3x3, ``width`` times, and from the image's border inwards."""
    for _ in range(width):
        around = np.pad(region, 1)
        height, breadth = region.shape
        region = np.all(
            [around[y : y + height, x : x + breadth] for y in range(3) for x in range(3)],
            axis=0,
        )
    return region


@given(LABELS, st.integers(1, 3))
@settings(deadline=None)
def test_a_boundary_is_what_erosion_takes_away(labels: np.ndarray, width: int) -> None:
    near = near_boundary(torch.from_numpy(labels), width).numpy()

    for label in range(3):
        region = labels == label
        assert np.array_equal(near & region, region & ~eroded(region, width))


@given(LABELS, LABELS)
@settings(deadline=None)
def test_the_score_equals_that_of_sets_of_pixels(target: np.ndarray, mask: np.ndarray) -> None:
    matrix = BoundaryMatrix(3, dilation_ratio=0.1)
    matrix.update(torch.from_numpy(target), torch.from_numpy(mask))

    expected = []
    for label in range(3):
        true, found = ((labels == label) & ~eroded(labels == label, 1) for labels in (target, mask))
        expected.append((true & found).sum() / (true | found).sum() if true.any() else math.nan)

    assert boundary_width(9, 8, 0.1) == 1
    assert matrix.iou.tolist() == pytest.approx(expected, nan_ok=True)


def test_a_square_moved_by_one_pixel_loses_more_at_its_boundary_than_in_its_area() -> None:
    target, mask = torch.zeros(40, 40, dtype=torch.uint8), torch.zeros(40, 40, dtype=torch.uint8)
    target[10:30, 10:30] = 1
    mask[10:30, 11:31] = 1
    matrix = BoundaryMatrix(2)

    matrix.update(target, mask)

    ring = 20 * 20 - 18 * 18
    shared = 2 * 19  # the upper and lower rows, where both rings lie
    assert boundary_width(40, 40) == 1
    assert float(matrix.iou[1]) == pytest.approx(shared / (2 * ring - shared))
    assert float(matrix.iou[1]) < 380 / 420


def test_nobody_is_asked_for_an_outline_that_lies_where_nothing_is_labelled() -> None:
    mask = torch.zeros(60, 60, dtype=torch.uint8)
    mask[20:40, 20:40] = 1
    target = torch.full((60, 60), 255, dtype=torch.uint8)
    target[:10] = target[50:] = 0
    target[22:38, 22:38] = 1
    matrix = BoundaryMatrix(2)

    matrix.update(target, mask)

    assert matrix.iou.tolist() == pytest.approx([1.0, math.nan], nan_ok=True)


def test_images_add_up_to_one_score() -> None:
    target = torch.zeros(10, 10, dtype=torch.uint8)
    matrix = BoundaryMatrix(2)

    matrix.update(target, target)
    matrix.update(target, torch.ones_like(target))

    assert matrix.iou.tolist() == pytest.approx([0.5, math.nan], nan_ok=True)
    assert matrix.mean_iou == pytest.approx(0.5)


@pytest.mark.parametrize(("size", "width"), [((375, 500), 12), ((4, 4), 1)])
def test_the_width_is_two_percent_of_the_diagonal(size: tuple[int, int], width: int) -> None:
    assert boundary_width(*size) == width
