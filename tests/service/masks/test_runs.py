import numpy as np
from hypothesis import given

from service.masks.encoder import Mask
from service.masks.runs import box_along, box_down, runs_along, runs_down
from tests.service.masks.masks import MASKS, present


def unrolled(counts: list[int]) -> list[bool]:
    return [bool(i % 2) for i, count in enumerate(counts) for _ in range(count)]


def test_counts_begin_with_what_is_not_of_the_class() -> None:
    runs = runs_down(np.array([[1, 0], [1, 1]], np.uint8))

    assert runs.of(1).counts().tolist() == [0, 2, 1, 1]
    assert runs.of(0).counts().tolist() == [2, 1, 1]
    assert box_down(runs.of(0)) == (1, 0, 1, 1)


@given(MASKS)
def test_runs_along_and_down_hold_every_class_that_occurs_and_no_void(mask: Mask) -> None:
    assert [label for label, _ in runs_along(mask).by_class()] == present(mask)
    assert [label for label, _ in runs_down(mask).by_class()] == present(mask)


@given(MASKS)
def test_both_find_the_smallest_box(mask: Mask) -> None:
    for (label, along), (_, down) in zip(runs_along(mask).by_class(), runs_down(mask).by_class(), strict=True):
        rows, columns = np.nonzero(mask == label)
        box = (int(columns.min()), int(rows.min()), int(np.ptp(columns)) + 1, int(np.ptp(rows)) + 1)

        assert box_along(along) == box_down(down) == box


@given(MASKS)
def test_cropped_runs_are_those_of_the_box_alone(mask: Mask) -> None:
    for label, runs in runs_along(mask).by_class():
        left, top, width, height = box_along(runs)
        inside = mask[top : top + height, left : left + width] == label

        assert unrolled(runs.cropped().counts().tolist()) == inside.ravel().tolist()
