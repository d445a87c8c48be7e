import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from model_zoo import upsample
from model_zoo.segmentation import Wanted
from model_zoo.upsample import upsample_argmax, upsample_confidence

EVERYTHING = Wanted(sums=True, confidence=True, probabilities=True, threshold=0.4)


def two_step(logits: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(logits[None].double(), size, mode="bilinear", align_corners=False)[0]


def logits_of(channels: int, height: int, width: int) -> Tensor:
    return torch.randn(channels, height, width, generator=torch.Generator().manual_seed(0))


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 9), st.integers(1, 40), st.integers(1, 40), st.integers(1, 90), st.integers(1, 90))
def test_the_mask_is_that_of_interpolate_and_argmax(c: int, h: int, w: int, height: int, width: int) -> None:
    logits = logits_of(c, h, w)
    reference = two_step(logits, (height, width))

    mask = upsample_argmax(logits, (height, width)).mask

    chosen = reference.gather(0, mask.long()[None])[0]
    assert mask.shape == (height, width)
    torch.testing.assert_close(chosen, reference.amax(0), atol=1e-4, rtol=0)


def test_bands_join_without_a_seam(monkeypatch: pytest.MonkeyPatch) -> None:
    logits = logits_of(5, 23, 31)
    whole = upsample_argmax(logits, (230, 200), EVERYTHING)
    monkeypatch.setattr(upsample, "_BAND_VALUES", 5 * 200 * 7)

    found = upsample_argmax(logits, (230, 200), EVERYTHING)

    assert whole.confidence is not None
    assert whole.probabilities is not None
    assert torch.equal(found.mask, whole.mask)
    torch.testing.assert_close(found.probability_sums, whole.probability_sums)
    torch.testing.assert_close(found.confidence, whole.confidence, atol=1, rtol=0)
    torch.testing.assert_close(found.probabilities, whole.probabilities)


@pytest.mark.parametrize("size", [(16, 20), (50, 61)])
def test_probability_sums_are_those_of_softmax(size: tuple[int, int]) -> None:
    logits = logits_of(4, 16, 20) * 3
    probabilities, labels = two_step(logits, size).softmax(0).max(0)

    found = upsample_argmax(logits, size, Wanted(sums=True))

    expected = torch.stack([probabilities[labels == label].sum() for label in range(4)])
    assert torch.equal(found.mask.long(), labels)
    torch.testing.assert_close(found.probability_sums, expected, atol=1e-3, rtol=1e-5)


@pytest.mark.parametrize("size", [(16, 20), (50, 61)])
def test_the_confidence_is_the_probability_of_the_class_that_the_mask_has(size: tuple[int, int]) -> None:
    logits = logits_of(4, 16, 20) * 3

    mask, confidence = upsample_confidence(logits, size)

    assert torch.equal(mask, upsample_argmax(logits, size).mask)
    torch.testing.assert_close(confidence, two_step(logits, size).softmax(0).amax(0).float(), atol=1e-5, rtol=0)


def test_trap_37_upsampling_comes_before_argmax() -> None:
    logits = torch.tensor([[[1.0, 0.0]], [[0.9, 0.9]], [[0.0, 1.0]]])  # class 1 wins only between the two pixels

    mask = upsample_argmax(logits, (1, 8)).mask

    assert set(mask.flatten().tolist()) == {0, 1, 2}


@pytest.mark.parametrize(("size", "grown"), [((1, 1), (5, 7)), ((1, 2), (6, 8)), ((2, 1), (8, 3))])
def test_trap_33_corners_are_not_aligned_and_a_side_of_one_pixel_is_repeated(
    size: tuple[int, int], grown: tuple[int, int]
) -> None:
    logits = logits_of(3, *size)

    mask, confidence = upsample_confidence(logits, grown)

    reference = two_step(logits, grown)
    assert torch.equal(mask.long(), reference.argmax(0))
    torch.testing.assert_close(confidence, reference.softmax(0).amax(0).float(), atol=1e-5, rtol=0)
    assert torch.equal(mask[0, 0].long(), logits[:, 0, 0].argmax())


def test_a_mask_of_254_classes_keeps_its_highest_id() -> None:
    logits = torch.zeros(255, 2, 2)
    logits[254] = 1

    mask = upsample_argmax(logits, (4, 4)).mask

    assert set(mask.flatten().tolist()) == {254}


@pytest.mark.parametrize("size", [(16, 20), (50, 61)])
def test_probabilities_are_those_of_softmax_and_the_confidence_is_the_greatest(size: tuple[int, int]) -> None:
    logits = logits_of(4, 16, 20) * 3
    expected = two_step(logits, size).softmax(0)

    found = upsample_argmax(logits, size, Wanted(confidence=True, probabilities=True))

    assert found.confidence is not None
    assert found.probabilities is not None
    assert found.probabilities.dtype == torch.float16
    torch.testing.assert_close(found.probabilities.double(), expected, atol=1e-3, rtol=0)
    torch.testing.assert_close(found.confidence.double(), 255 * expected.amax(0), atol=0.6, rtol=0)


def test_a_pixel_below_the_threshold_is_void_and_counts_for_no_class() -> None:
    logits = logits_of(4, 16, 20)
    probabilities, labels = two_step(logits, (50, 61)).softmax(0).max(0)
    is_sure = probabilities >= 0.5

    found = upsample_argmax(logits, (50, 61), Wanted(sums=True, threshold=0.5))

    assert 0 < is_sure.sum() < is_sure.numel()
    assert torch.equal(found.mask.long(), torch.where(is_sure, labels, 255))
    expected = torch.stack([probabilities[(labels == label) & is_sure].sum() for label in range(4)])
    torch.testing.assert_close(found.probability_sums, expected, atol=1e-3, rtol=1e-5)
