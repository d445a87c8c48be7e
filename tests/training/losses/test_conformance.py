"""Hold every loss to the same rules: add one to ``LOSSES`` and all of these run over it."""

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor

from model_zoo.spec import Prediction
from training.losses import LOSSES, Counts, count, segmentation_loss

B, C, H, W = 4, 5, 12, 10
every_loss = pytest.mark.parametrize("name", LOSSES)


@pytest.fixture
def targets() -> Tensor:
    """Give ``[B, H, W]``: void by half, in a corner, nowhere, all over; one class absent, one from one image."""
    targets = torch.randint(0, C - 1, (B, H, W), generator=torch.Generator().manual_seed(1))
    targets[0, : H // 2] = 255
    targets[1, :2, :3] = 255
    targets[1][targets[1] == 2] = 0
    targets[3] = 255
    return targets


@pytest.fixture
def logits() -> Tensor:
    return 2 * torch.randn(B, C, H, W, generator=torch.Generator().manual_seed(2))


def pixel_weights(targets: Tensor) -> Tensor:
    return 0.5 + torch.rand(targets.shape, generator=torch.Generator().manual_seed(3))


def loss_of(name: str, logits: Tensor, targets: Tensor, counts: Counts | None = None) -> Tensor:
    return weighed_loss(name, logits, targets, pixel_weights(targets), counts)


def weighed_loss(name: str, logits: Tensor, targets: Tensor, weights: Tensor, counts: Counts | None = None) -> Tensor:
    terms: Mapping[str, float] = {name: 1.0}
    prediction = Prediction(logits)
    return segmentation_loss(prediction, targets, terms=terms, auxiliary_weight=0, counts=counts, pixel_weights=weights)


def gradient(loss: Tensor, logits: Tensor) -> Tensor:
    return torch.autograd.grad(loss, logits)[0]


@every_loss
@pytest.mark.parametrize("sizes", [[1, 1, 1, 1], [3, 1], [1, 2, 1]])
def test_trap_39_micro_batches_over_shared_counts_give_what_the_whole_batch_gives(
    logits: Tensor, targets: Tensor, name: str, sizes: list[int]
) -> None:
    logits.requires_grad_()
    weights, counts = pixel_weights(targets), count(targets)
    whole = weighed_loss(name, logits, targets, weights)

    micro_batches = zip(
        torch.split(logits, sizes), torch.split(targets, sizes), torch.split(weights, sizes), strict=True
    )
    parts = torch.stack([weighed_loss(name, *part, counts=counts) for part in micro_batches]).sum()

    torch.testing.assert_close(parts, whole)
    torch.testing.assert_close(gradient(parts, logits), gradient(whole, logits))


@every_loss
def test_void_pixels_count_nowhere_and_teach_nothing(logits: Tensor, targets: Tensor, name: str) -> None:
    void = (targets == 255)[:, None].expand_as(logits)
    other = torch.where(void, 7 * torch.randn(logits.shape), logits)
    logits.requires_grad_()

    loss = loss_of(name, logits, targets)

    torch.testing.assert_close(loss_of(name, other, targets), loss)
    assert not gradient(loss, logits)[void].any()


@every_loss
def test_trap_2_a_batch_without_labels_costs_nothing_and_teaches_nothing(logits: Tensor, name: str) -> None:
    logits.requires_grad_()

    loss = loss_of(name, logits, torch.full((B, H, W), 255))

    assert loss.item() == 0
    assert torch.equal(gradient(loss, logits), torch.zeros_like(logits))


@every_loss
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_trap_43_half_precision_logits_are_computed_in_float32(
    logits: Tensor, targets: Tensor, name: str, dtype: torch.dtype
) -> None:
    half = logits.to(dtype).requires_grad_()
    exact = half.detach().float().requires_grad_()

    loss, expected = loss_of(name, half, targets), loss_of(name, exact, targets)

    assert loss.dtype == torch.float32
    assert torch.equal(loss, expected)
    assert torch.equal(gradient(loss, half), gradient(expected, exact).to(dtype))


@every_loss
def test_trap_43_autocast_changes_nothing(logits: Tensor, targets: Tensor, name: str) -> None:
    with torch.autocast("cpu", torch.bfloat16):
        loss = loss_of(name, logits, targets)

    assert torch.equal(loss, loss_of(name, logits, targets))


@every_loss
def test_trap_40_the_loss_and_its_gradient_do_not_grow_with_the_image(
    logits: Tensor, targets: Tensor, name: str
) -> None:
    bias = torch.zeros(C, 1, 1, requires_grad=True)
    weights = pixel_weights(targets)

    small = weighed_loss(name, logits + bias, targets, weights)
    large = weighed_loss(name, logits.repeat(1, 1, 2, 3) + bias, targets.repeat(1, 2, 3), weights.repeat(1, 2, 3))

    torch.testing.assert_close(large, small)
    torch.testing.assert_close(gradient(large, bias), gradient(small, bias))


@every_loss
def test_channels_last_gives_the_same(logits: Tensor, targets: Tensor, name: str) -> None:
    last = logits.contiguous(memory_format=torch.channels_last).requires_grad_()
    logits.requires_grad_()

    loss, expected = loss_of(name, last, targets), loss_of(name, logits, targets)

    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(gradient(loss, last), gradient(expected, logits))


@every_loss
def test_being_right_costs_nothing_and_being_wrong_much(targets: Tensor, name: str) -> None:
    right = 30 * torch.nn.functional.one_hot(targets.where(targets != 255, 0), C).permute(0, 3, 1, 2).float()

    assert 0 <= loss_of(name, right, targets).item() < 1e-6
    assert loss_of(name, right.roll(1, dims=1), targets).item() > 0.9


@every_loss
def test_the_gradient_is_the_slope(logits: Tensor, targets: Tensor, name: str) -> None:
    logits.requires_grad_()
    slope = gradient(loss_of(name, logits, targets), logits)
    step = 1e-2 * slope / slope.norm()

    rise = loss_of(name, logits + step, targets) - loss_of(name, logits - step, targets)

    assert rise.item() == pytest.approx(2e-2 * slope.norm().item(), rel=0.01)


@every_loss
def test_a_score_that_is_not_a_number_is_not_hidden(logits: Tensor, targets: Tensor, name: str) -> None:
    logits[2, 1, 0, 0] = torch.nan

    assert loss_of(name, logits, targets).isnan()


@every_loss
def test_the_loss_is_what_the_sum_says_by_its_unit(logits: Tensor, targets: Tensor, name: str) -> None:
    counts = count(targets)._asdict()
    total = LOSSES[name].total(logits, targets, pixel_weights(targets))

    assert total.shape == ()
    torch.testing.assert_close(loss_of(name, logits, targets), total / counts[f"{LOSSES[name].unit}s"])
