import math

import pytest
import torch

from training.losses.focal import total_focal


@pytest.mark.parametrize("probability", [0.01, 0.5, 0.9, 0.9999])
def test_a_pixel_weighs_by_the_square_of_its_doubt(probability: float) -> None:
    logits = torch.tensor([math.log(probability), math.log1p(-probability)]).view(1, 2, 1, 1)

    total = total_focal(logits, torch.zeros(1, 1, 1, dtype=torch.int64))

    assert total.item() == pytest.approx(-((1 - probability) ** 2) * math.log(probability), rel=1e-4)


def test_a_pixel_that_is_all_but_certain_has_a_finite_gradient() -> None:
    logits = torch.tensor([200.0, 0.0]).view(1, 2, 1, 1).requires_grad_()

    (gradient,) = torch.autograd.grad(total_focal(logits, torch.zeros(1, 1, 1, dtype=torch.int64)), logits)

    assert torch.equal(gradient, torch.zeros_like(logits))
