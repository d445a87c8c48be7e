import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from model_zoo import upsample
from model_zoo.upsample import upsample_argmax, upsample_confidence


def two_step(logits: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(logits[None].double(), size, mode="bilinear", align_corners=False)[0]


def logits_of(channels: int, height: int, width: int) -> Tensor:
    return torch.randn(channels, height, width, generator=torch.Generator().manual_seed(0))


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 9), st.integers(1, 40), st.integers(1, 40), st.integers(1, 90), st.integers(1, 90))
def test_the_mask_is_that_of_interpolate_and_argmax(c: int, h: int, w: int, height: int, width: int) -> None:
    logits = logits_of(c, h, w)
    reference = two_step(logits, (height, width))

    mask, _ = upsample_argmax(logits, (height, width))

    chosen = reference.gather(0, mask.long()[None])[0]
    assert mask.shape == (height, width)
    torch.testing.assert_close(chosen, reference.amax(0), atol=1e-4, rtol=0)


def test_bands_join_without_a_seam(monkeypatch: pytest.MonkeyPatch) -> None:
    logits = logits_of(5, 23, 31)
    whole, whole_sums = upsample_argmax(logits, (230, 200), probabilities=True)
    monkeypatch.setattr(upsample, "_BAND_VALUES", 5 * 200 * 7)

    mask, sums = upsample_argmax(logits, (230, 200), probabilities=True)

    assert torch.equal(mask, whole)
    torch.testing.assert_close(sums, whole_sums)


@pytest.mark.parametrize("size", [(16, 20), (50, 61)])
def test_probability_sums_are_those_of_softmax(size: tuple[int, int]) -> None:
    logits = logits_of(4, 16, 20) * 3
    probabilities, labels = two_step(logits, size).softmax(0).max(0)

    mask, sums = upsample_argmax(logits, size, probabilities=True)

    expected = torch.stack([probabilities[labels == label].sum() for label in range(4)])
    assert torch.equal(mask.long(), labels)
    torch.testing.assert_close(sums, expected, atol=1e-3, rtol=1e-5)


@pytest.mark.parametrize("size", [(16, 20), (50, 61)])
def test_the_confidence_is_the_probability_of_the_class_that_the_mask_has(size: tuple[int, int]) -> None:
    logits = logits_of(4, 16, 20) * 3

    mask, confidence = upsample_confidence(logits, size)

    assert torch.equal(mask, upsample_argmax(logits, size)[0])
    torch.testing.assert_close(confidence, two_step(logits, size).softmax(0).amax(0).float(), atol=1e-5, rtol=0)


def test_trap_37_upsampling_comes_before_argmax() -> None:
    logits = torch.tensor([[[1.0, 0.0]], [[0.9, 0.9]], [[0.0, 1.0]]])  # class 1 wins only between the two pixels

    mask, _ = upsample_argmax(logits, (1, 8))

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

    mask, _ = upsample_argmax(logits, (4, 4))

    assert set(mask.flatten().tolist()) == {254}
