"""Draw the borders of classes to the edges of an image: mean field in a random field over all of its pixels.

The energy is that of Krähenbühl, Koltun 2011, https://arxiv.org/abs/1210.5644: unary potentials from a network, and
Potts potentials weighted by an appearance and a smoothness kernel, each normalised symmetrically as in the authors' own
code. Kernels end at the border of a window around each pixel, as in Teichmann, Cipolla 2018,
https://arxiv.org/abs/1805.04777, so that a message is a local sum. A dilated window reaches as far at less cost.

Letters: C classes, h and w height and width.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from training.errors import InvalidOption

PIXELS_AT_ONCE = 2**18
"""Pixels whose kernels are held in memory at a time: four bytes each, and twice, for half of the window."""
LARGEST_WINDOW = 127
LARGEST_DILATION = 64

LEAST_DEVIATION = 0.01
"""At a hundredth of a pixel or of a level, nothing is alike or near any more; squares of less are soon 0."""
MOST = 1_000_000
"""Of a weight and of a deviation; squares of far more are infinite."""


@dataclass(frozen=True, slots=True)
class Crf:
    """Say how strongly pixels pull each other; lengths are in pixels of the network's input.

    ``appearance`` and ``smoothness`` are the weights of the two kernels, with Potts compatibility.

    Raises:
        InvalidOption: a value cannot be used.
    """

    iterations: int = field(default=5, metadata={"about": "steps of mean field"})
    window: int = field(default=11, metadata={"about": "neighbours along each side of the square that a pixel knows"})
    dilation: int = field(default=6, metadata={"about": "pixels from one of these neighbours to the next"})
    appearance: float = field(default=10.0, metadata={"about": "weight of being alike and near"})
    appearance_xy: float = field(default=80.0, metadata={"about": "its deviation in place"})
    appearance_rgb: float = field(default=5.0, metadata={"about": "its deviation in colour"})
    smoothness: float = field(default=3.0, metadata={"about": "weight of being near"})
    smoothness_xy: float = field(default=3.0, metadata={"about": "its deviation in place"})

    def __post_init__(self) -> None:
        if self.iterations < 1:
            raise InvalidOption(f"{self.iterations} iterations of the CRF are below 1")
        if not 1 <= self.dilation <= LARGEST_DILATION:
            raise InvalidOption(f"dilation {self.dilation} px of the CRF is not from 1 to {LARGEST_DILATION}")
        if not 3 <= self.window <= LARGEST_WINDOW or self.window % 2 == 0:
            raise InvalidOption(f"window {self.window} of the CRF is not odd and from 3 to {LARGEST_WINDOW}")
        self._check_range(("appearance", "smoothness"), least=0)
        self._check_range(("appearance_xy", "appearance_rgb", "smoothness_xy"), least=LEAST_DEVIATION)

    def _check_range(self, names: Sequence[str], *, least: float) -> None:
        for name in names:
            if not least <= getattr(self, name) <= MOST:
                raise InvalidOption(f"{name} {getattr(self, name)} of the CRF is not from {least} to {MOST}")


@dataclass(frozen=True, slots=True)
class _Neighbours:
    """Say where all pixels are that have a neighbour at one offset, where these neighbours are, and how far apart."""

    here: tuple[Any, ...]
    there: tuple[Any, ...]
    squared_distance: int


def refine(logits: Tensor, image: Tensor, crf: Crf) -> Tensor:
    """Give the logits ``[C, h, w]`` after mean field, from those of a network and the RGB image, ``[3, h, w]`` uint8.

    Large images are refined in bands, each seen as far around it as messages come, so that the result is the same.
    """
    height, width = logits.shape[1:]
    rows = max(1, PIXELS_AT_ONCE // width)
    halo = (
        (crf.iterations + 1) * (crf.window // 2) * crf.dilation
    )  # one more than messages travel, for the sums of the kernels
    bands = []
    for top in range(0, height, rows):
        start, end = max(0, top - halo), min(height, top + rows + halo)
        refined = mean_field(logits[:, start:end], image[:, start:end], crf)
        bands.append(refined[:, top - start : top - start + rows])
    return torch.cat(bands, dim=1)


def mean_field(logits: Tensor, image: Tensor, crf: Crf) -> Tensor:
    """Give what ``refine`` gives, with the kernels of all pixels in memory."""
    neighbours = list(_neighbours(image.shape[1], image.shape[2], crf))
    kernels = _kernels(image.to(logits), neighbours, crf)
    refined = logits
    for _ in range(crf.iterations):
        refined = logits + _message(refined.softmax(0), neighbours, kernels)
    return refined


def _neighbours(height: int, width: int, crf: Crf) -> Iterator[_Neighbours]:
    """Give one of each two opposite offsets: what is below, or on the right in the same row."""
    step, reach = crf.dilation, crf.window // 2 * crf.dilation
    for down in range(0, min(reach + 1, height), step):
        for right in range(-reach, reach + 1, step):
            if (down, right) > (0, 0) and abs(right) < width:
                here = (..., slice(0, height - down), slice(max(0, -right), width - max(0, right)))
                there = (..., slice(down, height), slice(max(0, right), width - max(0, -right)))
                yield _Neighbours(here, there, down**2 + right**2)


def _kernels(image: Tensor, neighbours: Sequence[_Neighbours], crf: Crf) -> list[Tensor]:
    """Give for each offset what each pixel and its neighbour are to each other: both kernels, weighted and summed."""
    appearance, smoothness = [], []
    for pair in neighbours:
        difference = (image[pair.here] - image[pair.there]).square_().sum(0)  # [<=h, <=w]
        place = pair.squared_distance / (2 * crf.appearance_xy**2)
        appearance.append(torch.exp(-difference / (2 * crf.appearance_rgb**2) - place))
        close = math.exp(-pair.squared_distance / (2 * crf.smoothness_xy**2))
        smoothness.append(image.new_tensor(close).expand_as(difference))
    both = zip(
        _normalised(appearance, neighbours, image[0], crf.appearance),
        _normalised(smoothness, neighbours, image[0], crf.smoothness),
        strict=True,
    )
    return [one.add_(other) for one, other in both]


def _normalised(
    kernels: Sequence[Tensor], neighbours: Sequence[_Neighbours], like: Tensor, weight: float
) -> Iterator[Tensor]:
    """Divide a kernel by the root of its sums at both ends, over all neighbours and the pixel itself."""
    total = torch.ones_like(like)  # [h, w]
    for kernel, pair in zip(kernels, neighbours, strict=True):
        total[pair.here] += kernel
        total[pair.there] += kernel
    scale = total.rsqrt_()
    for kernel, pair in zip(kernels, neighbours, strict=True):
        yield weight * kernel * scale[pair.here] * scale[pair.there]


def _message(probabilities: Tensor, neighbours: Sequence[_Neighbours], kernels: Sequence[Tensor]) -> Tensor:
    """Give each pixel the sum of its neighbours' probabilities ``[C, h, w]``, each times the kernel of the two."""
    message = torch.zeros_like(probabilities)
    for pair, kernel in zip(neighbours, kernels, strict=True):
        message[pair.here].addcmul_(kernel, probabilities[pair.there])
        message[pair.there].addcmul_(kernel, probabilities[pair.here])
    return message
