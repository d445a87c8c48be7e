import math

import pytest
import torch

from training.evaluation.calibration import Calibration


def test_the_error_of_a_hand_made_case_is_right() -> None:
    calibration = Calibration()
    target = torch.tensor([[1, 1, 1, 0, 255]])
    mask = torch.tensor([[1, 1, 0, 1, 1]])
    confidence = torch.tensor([[0.9, 0.9, 0.9, 0.5, 1.0]])

    calibration.update(target, mask, confidence)

    assert calibration.pixels.tolist() == [0] * 7 + [1] + [0] * 5 + [3, 0]
    assert calibration.expected_error == pytest.approx(3 / 4 * (0.9 - 2 / 3) + 1 / 4 * 0.5)


def test_who_is_sure_and_right_makes_no_error() -> None:
    calibration = Calibration()
    labels = torch.tensor([[0, 1]])

    calibration.update(labels, labels, torch.ones(1, 2))

    assert calibration.expected_error == 0


def test_images_add_up_to_one_score() -> None:
    together, apart = Calibration(), Calibration()
    target, mask, confidence = torch.randint(3, (3, 8, 9), generator=torch.Generator().manual_seed(0)).unbind()
    sure = (confidence + 1) / 4

    together.update(target, mask, sure)
    apart.update(target[4:], mask[4:], sure[4:])
    apart.update(target[:4], mask[:4], sure[:4])

    assert together.expected_error == pytest.approx(apart.expected_error)


def test_a_range_takes_its_upper_bound_in() -> None:
    calibration = Calibration(num_bins=2)
    labels = torch.zeros(1, 3, dtype=torch.int64)

    calibration.update(labels, labels, torch.tensor([[0.0, 0.5, 0.51]]))

    assert calibration.pixels.tolist() == [2, 1]


def test_a_set_without_labels_has_no_error() -> None:
    assert math.isnan(Calibration().expected_error)
