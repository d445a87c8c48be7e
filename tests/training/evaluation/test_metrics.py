import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from training.evaluation.metrics import Bootstrap, ConfusionMatrix

CLASSES = 4
SHAPE = (2, 5, 6)
TARGETS = arrays(np.uint8, SHAPE, elements=st.sampled_from([0, 1, 2, 3, 255]))
MASKS = arrays(np.uint8, SHAPE, elements=st.integers(0, 3))


@given(TARGETS, MASKS)
def test_the_counts_equal_a_naive_count(target: np.ndarray, mask: np.ndarray) -> None:
    naive = np.zeros((CLASSES, CLASSES), np.int64)
    np.add.at(naive, (target[target != 255], mask[target != 255]), 1)
    matrix = ConfusionMatrix(CLASSES)

    matrix.update(torch.from_numpy(target), torch.from_numpy(mask))

    assert np.array_equal(matrix.counts.numpy(), naive)
    assert int(matrix.counts.sum()) == int((target != 255).sum())


@given(TARGETS, MASKS)
def test_iou_equals_that_of_sets_of_pixels(target: np.ndarray, mask: np.ndarray) -> None:
    matrix = ConfusionMatrix(CLASSES)
    matrix.update(torch.from_numpy(target), torch.from_numpy(mask))

    labelled = target != 255
    expected = [
        (labelled & (target == c) & (mask == c)).sum() / (labelled & ((target == c) | (mask == c))).sum()
        if (target == c).any()
        else math.nan
        for c in range(CLASSES)
    ]

    assert matrix.iou.tolist() == pytest.approx(expected, nan_ok=True)


@given(TARGETS, MASKS)
def test_dice_equals_that_of_sets_of_pixels(target: np.ndarray, mask: np.ndarray) -> None:
    matrix = ConfusionMatrix(CLASSES)
    matrix.update(torch.from_numpy(target), torch.from_numpy(mask))

    labelled = target != 255
    expected = [
        2 * (labelled & (target == c) & (mask == c)).sum() / ((target == c).sum() + (labelled & (mask == c)).sum())
        if (target == c).any()
        else math.nan
        for c in range(CLASSES)
    ]

    assert matrix.dice.tolist() == pytest.approx(expected, nan_ok=True)
    assert matrix.dice.tolist() == pytest.approx((2 * matrix.iou / (1 + matrix.iou)).tolist(), nan_ok=True)


@given(TARGETS, MASKS)
def test_accuracies_and_weighted_iou_equal_naive_ones(target: np.ndarray, mask: np.ndarray) -> None:
    matrix = ConfusionMatrix(CLASSES)
    matrix.update(torch.from_numpy(target), torch.from_numpy(mask))

    true, found = target[target != 255], mask[target != 255]
    present = np.unique(true)
    weighted = sum((true == c).mean() * float(matrix.iou[c]) for c in present) if len(true) else math.nan
    recalls = [(found[true == c] == c).mean() for c in present]

    assert matrix.pixel_accuracy == pytest.approx((true == found).mean() if len(true) else math.nan, nan_ok=True)
    assert matrix.mean_accuracy == pytest.approx(np.mean(recalls) if recalls else math.nan, nan_ok=True)
    assert matrix.frequency_weighted_iou == pytest.approx(weighted, nan_ok=True)


@given(TARGETS, MASKS)
def test_the_legacy_overlap_takes_what_has_no_label_for_background(target: np.ndarray, mask: np.ndarray) -> None:
    matrix = ConfusionMatrix(CLASSES)
    matrix.update(torch.from_numpy(target), torch.from_numpy(mask))

    true = np.where(target == 255, 0, target)
    union = ((true > 0) | (mask > 0)).sum()
    expected = ((true > 0) & (true == mask)).sum() / union if union else math.nan

    assert matrix.legacy_fg_iou == pytest.approx(expected, nan_ok=True)


@given(TARGETS, MASKS)
def test_the_order_and_the_grouping_of_images_change_nothing(target: np.ndarray, mask: np.ndarray) -> None:
    together, apart = ConfusionMatrix(CLASSES), ConfusionMatrix(CLASSES)

    together.update(torch.from_numpy(target), torch.from_numpy(mask))
    apart.update(torch.from_numpy(target[1]), torch.from_numpy(mask[1]))
    apart.update(torch.from_numpy(target[0]), torch.from_numpy(mask[0]))

    assert torch.equal(together.counts, apart.counts)
    assert torch.equal(together.unlabelled, apart.unlabelled)


def toy_matrix() -> ConfusionMatrix:
    matrix = ConfusionMatrix(3)
    matrix.counts[:2, :2] = torch.tensor([[6, 2], [1, 3]])
    return matrix


def test_every_score_of_a_toy_matrix_is_right() -> None:
    matrix = toy_matrix()

    assert matrix.iou.tolist() == pytest.approx([6 / 9, 3 / 6, math.nan], nan_ok=True)
    assert matrix.accuracy.tolist() == pytest.approx([6 / 8, 3 / 4, math.nan], nan_ok=True)
    assert matrix.mean_iou == pytest.approx((6 / 9 + 3 / 6) / 2)
    assert matrix.mean_accuracy == pytest.approx(0.75)
    assert matrix.pixel_accuracy == pytest.approx(9 / 12)
    assert matrix.frequency_weighted_iou == pytest.approx(8 / 12 * 6 / 9 + 4 / 12 * 3 / 6)


def test_trap_12_a_class_absent_from_the_targets_is_left_out_even_where_it_was_given() -> None:
    matrix = ConfusionMatrix(3)

    matrix.update(torch.tensor([[0, 0, 1, 1]]), torch.tensor([[0, 2, 1, 1]]))

    assert matrix.iou.tolist() == pytest.approx([0.5, 1.0, math.nan], nan_ok=True)
    assert matrix.mean_iou == pytest.approx(0.75)


def test_trap_47_the_mean_is_of_one_matrix_and_not_of_the_images() -> None:
    full, half = torch.zeros(10, 10, dtype=torch.uint8), torch.ones(1, 2, dtype=torch.uint8)
    matrix = ConfusionMatrix(2)

    matrix.update(full, full)
    matrix.update(half, torch.tensor([[1, 0]], dtype=torch.uint8))

    assert matrix.mean_iou == pytest.approx((100 / 101 + 1 / 2) / 2)


def test_trap_48_counts_go_on_beyond_what_float32_can_count() -> None:
    matrix = ConfusionMatrix(2)
    matrix.counts[0, 0] = 2**24

    matrix.update(torch.zeros(1, 1, dtype=torch.uint8), torch.zeros(1, 1, dtype=torch.uint8))

    assert matrix.counts.dtype == torch.int64
    assert int(matrix.counts[0, 0]) == 2**24 + 1


def test_a_set_without_labels_has_no_score() -> None:
    matrix = ConfusionMatrix(2)

    matrix.update(torch.full((2, 2), 255), torch.zeros(2, 2))

    assert math.isnan(matrix.mean_iou)
    assert math.isnan(matrix.pixel_accuracy)
    assert math.isnan(matrix.frequency_weighted_iou)


@pytest.mark.parametrize(
    ("target", "mask", "complaint"),
    [
        ([[0, 1]], [[0]], "target is"),
        ([[0, 2]], [[0, 0]], "target has class 2"),
        ([[0, 0]], [[0, 2]], "mask has class 2"),
        ([[0, -1]], [[0, 0]], "target has class -1"),
        ([[255, 0]], [[2, 0]], "mask has class 2"),
    ],
)
def test_what_cannot_be_counted_is_refused(target: list[list[int]], mask: list[list[int]], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        ConfusionMatrix(2).update(torch.tensor(target), torch.tensor(mask))


def image_matrix(hits: int, misses: int) -> ConfusionMatrix:
    matrix = ConfusionMatrix(2)
    matrix.counts[0, 0], matrix.counts[0, 1] = hits, misses
    return matrix


def test_images_that_are_all_alike_leave_no_doubt() -> None:
    bootstrap = Bootstrap(draws=20)

    bootstrap.update(image_matrix(3, 1))
    bootstrap.update(image_matrix(3, 1))

    assert bootstrap.interval() == pytest.approx((0.75, 0.75))


def test_the_interval_holds_the_score_and_the_share_asked_for_of_all_draws() -> None:
    matrices = [image_matrix(hits, 10 - hits) for hits in range(11)]
    bootstrap = Bootstrap(seed=3, draws=500)
    for matrix in matrices:
        bootstrap.update(matrix)

    random = np.random.default_rng(0)
    naive = [random.integers(0, 11, 11).sum() / 110 for _ in range(5000)]

    assert bootstrap.interval(0.9) == pytest.approx(np.quantile(naive, [0.05, 0.95]).tolist(), abs=0.03)
    assert bootstrap.interval() == bootstrap.interval()
    assert bootstrap.interval(0.5)[0] > bootstrap.interval(0.9)[0]


def test_a_set_without_images_has_no_interval() -> None:
    assert all(math.isnan(bound) for bound in Bootstrap().interval())
