"""Paste the objects of one image into another, those of rare classes as often as those of common ones.

Letters: C channels, S side of the crop.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from model_zoo.labels import IGNORE_INDEX

BORDER = 5
"""The width of the void that VOC draws around its objects, in pixels; it is pasted with them."""


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
