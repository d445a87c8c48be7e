import math

import pytest
import torch
from torch import Tensor

from training.losses.hard_pixels import total_hard_cross_entropy


def scores(probabilities: Tensor) -> tuple[Tensor, Tensor]:
    """Give logits ``[B, 2, 1, P]`` by which class 0 has ``probabilities`` ``[B, P]``, and targets all of class 0."""
    logits = torch.stack([probabilities.log(), (1 - probabilities).log()], dim=1)[:, :, None]
    return logits, torch.zeros(len(probabilities), 1, probabilities.shape[1], dtype=torch.int64)


def test_pixels_below_the_threshold_are_kept_and_no_others() -> None:
    logits, targets = scores(torch.tensor([[0.2, 0.69, 0.71, 0.99]]))

    assert total_hard_cross_entropy(logits, targets).item() == pytest.approx(-(math.log(0.2) + math.log(0.69)) / 2)


def test_a_sixteenth_is_kept_where_all_are_sure_the_hardest_first() -> None:
    probabilities = torch.full((1, 40), 0.99)
    probabilities[0, 7:10] = torch.tensor([0.8, 0.75, 0.9])

    logits, targets = scores(probabilities)

    expected = -(math.log(0.8) + math.log(0.75) + math.log(0.9)) / 3
    assert total_hard_cross_entropy(logits, targets).item() == pytest.approx(expected)


def test_the_sixteenth_is_one_of_the_labelled_pixels() -> None:
    probabilities = torch.linspace(0.8, 0.99, 64)[None]
    logits, targets = scores(probabilities)
    targets[0, 0, 16:] = 255

    assert total_hard_cross_entropy(logits, targets).item() == pytest.approx(-math.log(0.8))


def test_pixels_without_any_loss_thin_the_mean_no_more_than_a_sixteenth_does() -> None:
    probabilities = torch.ones(1, 64)
    probabilities[0, 5] = 0.5

    logits, targets = scores(probabilities)

    assert total_hard_cross_entropy(logits, targets).item() == pytest.approx(-math.log(0.5) / 4)


def test_each_image_keeps_its_own() -> None:
    logits, targets = scores(torch.tensor([[0.1, 0.1, 0.1], [0.8, 0.9, 0.95]]))

    assert total_hard_cross_entropy(logits, targets).item() == pytest.approx(-math.log(0.1) - math.log(0.8))


def test_pixels_that_are_not_kept_teach_nothing() -> None:
    logits, targets = scores(torch.tensor([[0.2, 0.9]]))
    logits.requires_grad_()

    (gradient,) = torch.autograd.grad(total_hard_cross_entropy(logits, targets), logits)

    assert gradient[..., 0].all()
    assert not gradient[..., 1].any()
