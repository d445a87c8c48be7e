import pytest
import torch
from torch.nn import functional as F

from model_zoo.spec import Prediction
from training.losses import cross_entropy, segmentation_loss


def test_the_loss_is_the_mean_over_labelled_pixels() -> None:
    logits, targets = torch.randn(2, 5, 6, 7), torch.randint(0, 5, (2, 6, 7))
    targets[0, :3] = 255

    expected = F.cross_entropy(logits, targets, ignore_index=255)

    assert torch.allclose(cross_entropy(logits, targets), expected)


def test_trap_2_an_all_void_crop_costs_nothing_and_teaches_nothing() -> None:
    logits = torch.randn(2, 5, 6, 7, requires_grad=True)

    loss = cross_entropy(logits, torch.full((2, 6, 7), 255))
    loss.backward()  # type: ignore[no-untyped-call]  # torch has no annotation here

    assert loss.item() == 0
    assert logits.grad is not None
    assert torch.equal(logits.grad, torch.zeros_like(logits))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_logits_are_summed_in_float32(dtype: torch.dtype) -> None:
    logits = torch.zeros(1, 4, 300, 300, dtype=dtype)

    loss = cross_entropy(logits, torch.zeros(1, 300, 300, dtype=torch.int64))

    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(1.386294, abs=1e-5)


def test_auxiliary_logits_count_by_their_weight() -> None:
    logits, auxiliary, targets = torch.randn(1, 3, 4, 4), torch.randn(1, 3, 4, 4), torch.randint(0, 3, (1, 4, 4))

    loss = segmentation_loss(Prediction(logits, {"coarse": auxiliary}), targets, auxiliary_weight=0.5)

    assert torch.allclose(loss, cross_entropy(logits, targets) + 0.5 * cross_entropy(auxiliary, targets))
