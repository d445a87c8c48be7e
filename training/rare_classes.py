"""Show rare classes more often: visit their images again, and paste their objects into other images.

Letters: C channels, S side of the crop.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Collection, Sequence
from itertools import chain

import torch
from torch import Tensor
from torch.nn import functional as F

from model_zoo.labels import IGNORE_INDEX
from training.mixing import Visit

BORDER = 5
"""The width of the void that VOC draws around its objects, in pixels; it is pasted with them."""


class RepeatedMix:
    """Give the visits of every epoch, each sample in proportion to its factor; from seed and epoch alone.

    An epoch is as long as if every sample were visited once. How often a sample is visited in an epoch is its share of
    that, rounded up or down by chance (systematic sampling over a random order), so that over epochs it comes out.
    """

    def __init__(self, factors: Sequence[float], *, seed: int) -> None:
        self._factors = torch.tensor(factors, dtype=torch.float64)
        self._seed = seed

    def __len__(self) -> int:
        """Count the visits of an epoch: as many as there are samples."""
        return len(self._factors)

    def epoch(self, number: int) -> list[Visit]:
        """Give the visits of an epoch, counted from 1, in their order."""
        digest = hashlib.sha256(f"{self._seed}:repeated:{number}".encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)
        order = torch.randperm(len(self), generator=generator)
        ends = self._factors[order].cumsum(0)
        marks = (torch.arange(len(self)) + torch.rand((), generator=generator, dtype=torch.float64)) / len(self)
        visited = order[torch.searchsorted(ends / ends[-1], marks, right=True).clamp(max=len(self) - 1)]
        shuffled = visited[torch.randperm(len(self), generator=generator)].tolist()
        first = (number - 1) * len(self) + 1
        return list(enumerate(shuffled, first))  # every visit of a run has its own number, and so its own random crop


def repeat_factors(classes: Sequence[Collection[int] | None], share: float) -> list[float]:
    """Say how often to visit each image, given the classes in each, so that rare ones are seen more often.

    Where there is ``None`` in place of classes, the image is never visited: its factor is 0, and it does not count.

    A class in less than ``share`` of the images, ``f``, has the factor ``sqrt(share / f)``, every other one 1; an image
    has the largest of its classes (Gupta, Dollar, Girshick 2019, "LVIS", section 5, https://arxiv.org/abs/1908.03195).
    """
    counts: dict[int, int] = {}
    visited = [present for present in classes if present is not None]
    for label in chain.from_iterable(visited):
        counts[label] = counts.get(label, 0) + 1
    rates = {label: max(1.0, math.sqrt(share * len(visited) / number)) for label, number in counts.items()}
    return [0.0 if present is None else max((rates[label] for label in present), default=1.0) for present in classes]


class Paste:
    """Paste the pixels of one class from another image, by chance.

    After Ghiasi et al. 2021, "Simple Copy-Paste is a Strong Data Augmentation Method for Instance Segmentation",
    https://arxiv.org/abs/2012.07177; there it is instances, here all that the other crop has of a class. The class is
    drawn evenly from those of the training set, so that a rare one is pasted as often as a common one. The class of
    index 0, the background where there is one, is never pasted.

    Args:
        classes: the classes in each training sample, ``None`` of one that nothing is to be taken from.
        chance: how often something is pasted.
        crop: gives sample ``index`` as visit ``visit`` sees it: uint8 ``[C, S, S]`` and ``[S, S]``.
    """

    def __init__(
        self,
        classes: Sequence[Collection[int] | None],
        chance: float,
        crop: Callable[[int, int], tuple[Tensor, Tensor]],
    ) -> None:
        holders: dict[int, list[int]] = {}
        for index, present in enumerate(classes):
            for label in present or ():
                if label not in (0, IGNORE_INDEX):
                    holders.setdefault(label, []).append(index)
        self._holders = [(label, holders[label]) for label in sorted(holders)]
        self._chance = chance
        self._crop = crop

    def __call__(self, image: Tensor, target: Tensor, *, key: int) -> tuple[Tensor, Tensor]:
        """Give the image and target with what was pasted, from random numbers that depend on ``key`` alone."""
        generator = torch.Generator().manual_seed(key)
        if not self._holders or torch.rand((), generator=generator) >= self._chance:
            return image, target
        label, holders = self._holders[_draw(len(self._holders), generator)]
        other, labels = self._crop(holders[_draw(len(holders), generator)], _draw(2**31, generator))
        mask = object_mask(labels, label)
        return torch.where(mask, other, image), torch.where(mask, labels, target)


def object_mask(target: Tensor, label: int) -> Tensor:
    """Find a class in a target ``[S, S]``, with the void that lies around it; bool ``[S, S]``."""
    mask = target == label
    near = F.max_pool2d(mask[None].float(), 2 * BORDER + 1, stride=1, padding=BORDER)[0] > 0
    return mask | (near & (target == IGNORE_INDEX))


def _draw(count: int, generator: torch.Generator) -> int:
    return int(torch.randint(count, (), generator=generator))
