import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from model_zoo.spec import Prediction
from training.losses import LOSSES, Counts, count, cross_entropy, segmentation_loss


@pytest.fixture
def logits() -> Tensor:
    return torch.randn(2, 5, 6, 7)


@pytest.fixture
def targets() -> Tensor:
    targets = torch.randint(0, 5, (2, 6, 7))
    targets[0, :3] = 255
    return targets


def test_cross_entropy_is_the_mean_over_labelled_pixels(logits: Tensor, targets: Tensor) -> None:
    expected = F.cross_entropy(logits, targets, ignore_index=255)

    torch.testing.assert_close(cross_entropy(logits, targets), expected)
    torch.testing.assert_close(segmentation_loss(Prediction(logits), targets, auxiliary_weight=0), expected)


def test_trap_39_the_mean_of_means_is_not_the_mean(logits: Tensor, targets: Tensor) -> None:
    targets[0, 3:] = 255
    targets[0, 5, 6] = 0
    whole = cross_entropy(logits, targets)

    of_means = (cross_entropy(logits[:1], targets[:1]) + cross_entropy(logits[1:], targets[1:])) / 2
    one, other = (
        segmentation_loss(Prediction(logits[i : i + 1]), targets[i : i + 1], auxiliary_weight=0, counts=count(targets))
        for i in range(2)
    )

    assert not torch.isclose(of_means, whole, rtol=1e-2)
    torch.testing.assert_close(one + other, whole)


def test_auxiliary_logits_count_by_their_weight(logits: Tensor, targets: Tensor) -> None:
    coarse, fine = torch.randn(2, 5, 6, 7), torch.randn(2, 5, 6, 7)
    prediction = Prediction(logits, {"coarse": coarse, "fine": fine})

    loss = segmentation_loss(prediction, targets, auxiliary_weight=0.5)

    others = cross_entropy(coarse, targets) + cross_entropy(fine, targets)
    torch.testing.assert_close(loss, cross_entropy(logits, targets) + 0.5 * others)


def test_terms_count_by_their_weights_each_over_its_own_unit(logits: Tensor, targets: Tensor) -> None:
    terms = {"cross_entropy": 0.5, "dice": 2.0}

    loss = segmentation_loss(
        Prediction(logits), targets, terms=terms, auxiliary_weight=0, counts=Counts(pixels=100, images=4)
    )

    pixels, images = (LOSSES[name].total(logits, targets, None) for name in terms)
    torch.testing.assert_close(loss, 0.5 * pixels / 100 + 2 * images / 4)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64])
def test_labelled_pixels_are_counted_and_images_that_have_any(dtype: torch.dtype) -> None:
    targets = torch.full((3, 2, 2), 255, dtype=dtype)
    targets[0, 0] = 0
    targets[2] = 7

    assert count(targets) == Counts(pixels=6, images=2)


def test_cross_entropy_of_half_precision_is_summed_in_float32() -> None:
    logits = torch.zeros(1, 4, 300, 300, dtype=torch.bfloat16)

    loss = cross_entropy(logits, torch.zeros(1, 300, 300, dtype=torch.int64))

    assert loss.item() == pytest.approx(1.386294, abs=1e-5)


def test_the_boundary_loss_is_refused_without_weights(logits: Tensor, targets: Tensor) -> None:
    with pytest.raises(ValueError, match="needs the weights of the pixels"):
        segmentation_loss(Prediction(logits), targets, terms={"boundary": 1.0}, auxiliary_weight=0)


def test_a_loss_that_weighs_nothing_is_not_computed(logits: Tensor, targets: Tensor) -> None:
    terms = {"cross_entropy": 1.0, "boundary": 0.0}

    loss = segmentation_loss(Prediction(logits), targets, terms=terms, auxiliary_weight=0)

    assert torch.equal(loss, segmentation_loss(Prediction(logits), targets, auxiliary_weight=0))


def test_the_boundary_loss_under_equal_weights_is_cross_entropy(logits: Tensor, targets: Tensor) -> None:
    total = LOSSES["boundary"].total(logits, targets, torch.full((2, 6, 7), 3.0))

    torch.testing.assert_close(total, 3 * LOSSES["cross_entropy"].total(logits, targets, None))
