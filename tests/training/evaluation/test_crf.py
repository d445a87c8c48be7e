import math
import re
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from training.errors import InvalidOption
from training.evaluation.crf import PIXELS_AT_ONCE, Crf, mean_field, refine

DEVIATIONS = ("appearance_xy", "appearance_rgb", "smoothness_xy")


def brute_force(logits: np.ndarray, image: np.ndarray, crf: Crf) -> np.ndarray:
    """Give the logits after mean field as the papers write it, with the kernel of every pixel to every other."""
    height, width = image.shape[1:]
    place = np.argwhere(np.ones((height, width))).astype(float)  # [N, 2]
    colour = image.reshape(3, -1).T.astype(float)  # [N, 3]
    apart = place[:, None] - place[None]
    distance = (apart**2).sum(-1)
    difference = ((colour[:, None] - colour[None]) ** 2).sum(-1)
    known = (np.abs(apart).max(-1) <= crf.window // 2 * crf.dilation) & (apart % crf.dilation == 0).all(-1)

    def normalised(kernel: np.ndarray) -> np.ndarray:
        sums = (kernel * known).sum(1)
        return np.asarray(kernel * known / np.sqrt(sums[:, None] * sums[None]))

    appearance = np.exp(-distance / (2 * crf.appearance_xy**2) - difference / (2 * crf.appearance_rgb**2))
    smoothness = np.exp(-distance / (2 * crf.smoothness_xy**2))
    kernel = crf.appearance * normalised(appearance) + crf.smoothness * normalised(smoothness)
    np.fill_diagonal(kernel, 0)
    unary = -logits.reshape(len(logits), -1)  # [C, N]
    disagree = 1 - np.eye(len(logits))  # Potts
    refined = -unary
    for _ in range(crf.iterations):
        probabilities = softmax(refined)
        refined = -unary - disagree @ probabilities @ kernel.T
    return refined.reshape(logits.shape)


def softmax(logits: np.ndarray) -> np.ndarray:
    exponent = np.exp(logits - logits.max(0))
    return np.asarray(exponent / exponent.sum(0))


def toy(height: int = 8, width: int = 8, *, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Give logits of three classes, and an image of few colours."""
    random = np.random.default_rng(seed)
    logits = torch.from_numpy(random.normal(size=(3, height, width)).astype(np.float32))
    image = random.integers(0, 4, (3, height, width), dtype=np.uint8) * 8
    return logits, torch.from_numpy(image)


@pytest.mark.parametrize(("window", "dilation"), [(3, 1), (5, 1), (15, 1), (99, 1), (3, 2), (5, 3)])
@pytest.mark.parametrize("iterations", [1, 5])
@pytest.mark.parametrize("size", [(8, 8), (5, 9), (1, 7), (1, 1)])
def test_row_20_mean_field_is_that_of_the_paper(
    window: int, dilation: int, iterations: int, size: tuple[int, int]
) -> None:
    logits, image = toy(*size)
    crf = Crf(iterations, window, dilation, appearance=2.0, appearance_xy=4.0, appearance_rgb=13.0, smoothness_xy=1.5)

    refined = refine(logits, image, crf)

    expected = softmax(brute_force(logits.double().numpy(), image.numpy(), crf))
    np.testing.assert_allclose(refined.softmax(0).numpy(), expected, atol=1e-5)


def test_row_20_two_pixels_of_one_colour_have_the_answer_that_one_can_write_down() -> None:
    logits = torch.tensor([[[2.0, -1.0]], [[0.0, 0.0]]])
    image = torch.full((3, 1, 2), 90, dtype=torch.uint8)
    close = np.exp(-1 / 2)

    refined = refine(logits, image, Crf(iterations=1, dilation=1, appearance=0, smoothness=3, smoothness_xy=1))

    told = 3 * close / (1 + close) * logits.softmax(0).flip(2)
    torch.testing.assert_close(refined, logits + told, atol=1e-6, rtol=0)


def test_row_20_noise_in_a_region_of_one_colour_is_removed() -> None:
    random = np.random.default_rng(0)
    wrong = torch.from_numpy(random.random((24, 24)) < 0.2)
    logits = torch.stack([torch.where(wrong, -1.0, 1.0), torch.where(wrong, 1.0, -1.0)])
    image = torch.full((3, 24, 24), 120, dtype=torch.uint8)

    mask = refine(logits, image, Crf()).argmax(0)

    assert int(logits.argmax(0).sum()) > 80
    assert int(mask.sum()) == 0


def test_row_20_a_border_of_classes_moves_to_the_edge_of_the_image() -> None:
    image = torch.zeros(3, 20, 30, dtype=torch.uint8)
    image[:, :, 15:] = 200
    slope = (torch.arange(30.0) - 11.5).mul(0.3).expand(20, 30)  # the network sees the border 3.5 pixels to the left
    logits = torch.stack([-slope, slope])

    mask = refine(logits, image, Crf()).argmax(0)

    assert torch.equal(logits.argmax(0), (torch.arange(30) >= 12).long().expand(20, 30))
    assert torch.equal(mask, (torch.arange(30) >= 15).long().expand(20, 30))


def test_row_20_without_weights_the_logits_stay_as_they_are() -> None:
    logits, image = toy()

    assert torch.equal(refine(logits, image, Crf(appearance=0, smoothness=0)), logits)


def test_bands_of_a_large_image_join_without_a_seam() -> None:
    logits, image = toy(PIXELS_AT_ONCE // 64, 150)
    crf = Crf(iterations=2, window=5, dilation=2)

    refined = refine(logits, image, crf)

    torch.testing.assert_close(refined, mean_field(logits, image, crf), atol=1e-5, rtol=0)


def test_the_smoothness_kernel_does_not_look_at_colours() -> None:
    logits, image = toy()
    place, colour = Crf(dilation=1, appearance=0), Crf(dilation=1)

    assert torch.equal(refine(logits, image, place), refine(logits, image.flip(1), place))
    assert not torch.equal(refine(logits, image, colour), refine(logits, image.flip(1), colour))


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        *(({"dilation": far}, f"dilation {far} px of the CRF is not from 1 to 64") for far in (0, 65)),
        ({"iterations": 0}, "0 iterations of the CRF are below 1"),
        *(({"window": window}, f"window {window} of the CRF is not odd") for window in (1, 4, -3, 129)),
        *(
            ({name: value}, f"{name} {value} of the CRF is not from 0 to 1000000")
            for name, value in product(("appearance", "smoothness"), (-1.0, math.nan, math.inf, 1e38))
        ),
        *(
            ({name: value}, f"{name} {value} of the CRF is not from 0.01 to 1000000")
            for name, value in product(DEVIATIONS, (0.0, math.nan, math.inf, 1e-200, 1e200))
        ),
    ],
)
def test_what_cannot_be_refined_with_is_refused(values: dict[str, Any], complaint: str) -> None:
    with pytest.raises(InvalidOption, match=re.escape(complaint)):
        Crf(**values)


@pytest.mark.parametrize("weight", [0.0, 1e6])
@pytest.mark.parametrize("deviation", [0.01, 1e6])
def test_logits_stay_finite_at_the_ends_of_what_is_allowed(weight: float, deviation: float) -> None:
    logits, image = toy()
    crf = Crf(5, 11, 1, weight, deviation, deviation, weight, deviation)

    refined = refine(logits, image, crf)

    assert refined.isfinite().all()
