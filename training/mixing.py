"""Choose the samples of every epoch: each once, each dataset as often as its weight says, or in a sliding window."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import accumulate

import torch
from torch import Tensor

from training.errors import InvalidRecipe

Visit = tuple[int, int]
"""A pass through a dataset, counted from 1, and an index that counts through all datasets, one behind the other."""


class Mix:
    """Give the visits of every epoch, from seed and epoch alone.

    Without weights, each epoch visits every sample once. With weights, an epoch is as long, but each dataset fills its
    share of it and goes on where it stopped in the epoch before: no sample is visited again before all others of its
    dataset have been.

    Raises:
        InvalidRecipe: the weights are not one for each dataset, or not numbers from 0 of which one is above it.
    """

    def __init__(self, sizes: Sequence[int], weights: Sequence[float] | None, *, seed: int) -> None:
        if weights is not None:
            _check(sizes, weights)
        self._sizes = tuple(sizes)
        self._offsets = tuple(accumulate(sizes, initial=0))
        self._weights = None if weights is None else tuple(Fraction(weight) for weight in weights)
        self._seed = seed

    def __len__(self) -> int:
        """Count the visits of an epoch: as many as there are samples, whatever the weights."""
        return self._offsets[-1]

    def epoch(self, number: int) -> list[Visit]:
        """Give the visits of an epoch, counted from 1, in their order."""
        order = self._permutation(len(self), str(number))
        if self._weights is None:
            return [(number, index) for index in order.tolist()]
        starts, ends = (shares(epoch * len(self), self._weights) for epoch in (number - 1, number))
        bounds = enumerate(zip(starts, ends, strict=True))
        runs = [run for place, (start, end) in bounds if start < end for run in self._runs(place, start, end)]
        passes = torch.cat([torch.full_like(indices, lap) for lap, indices in runs])[order]
        indices = torch.cat([indices for _, indices in runs])[order]
        return list(zip(passes.tolist(), indices.tolist(), strict=True))

    def _runs(self, place: int, start: int, end: int) -> Iterator[tuple[int, Tensor]]:
        """Give the passes of one dataset that its visits from start to end belong to, each with their indices."""
        size = self._sizes[place]
        for done in range(start // size * size, end, size):
            lap = done // size + 1
            order = self._permutation(size, f"{place}:{lap}") + self._offsets[place]
            yield lap, order[max(start - done, 0) : end - done]

    def _permutation(self, size: int, key: str) -> Tensor:
        digest = hashlib.sha256(f"{self._seed}:{key}".encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)
        return torch.randperm(size, generator=generator)


class SlidingWindow:
    """Give batches that move on by one sample in the order of the list, and begin anew with every epoch.

    A well-known re-implementation of FCN did so by mistake. Of N samples and batches of B, an epoch has N/B steps and
    sees the first N/B + B - 1 samples alone; it is here to measure what that costs.
    """

    def __init__(self, num_samples: int, *, batch_size: int) -> None:
        self._width = min(batch_size, num_samples)
        self._num_steps = num_samples // self._width

    def __len__(self) -> int:
        """Count the visits of an epoch."""
        return self._num_steps * self._width

    def epoch(self, number: int) -> list[Visit]:
        """Give the visits of an epoch, counted from 1, batch after batch."""
        first = (number - 1) * self._num_steps + 1  # every step is a pass of its own, with its own random crops
        return [(first + step, step + place) for step in range(self._num_steps) for place in range(self._width)]


def shares(total: int, weights: Sequence[Fraction]) -> list[int]:
    """Divide a whole number by weights, so that no share falls when the total grows.

    One share after the other is rounded off what the former have left. The largest remainders would come nearer to the
    weights, but there a share can fall (the Alabama paradox), and a dataset would have to take a visit back.
    """
    given = []
    for place, weight in enumerate(weights):
        rest = sum(weights[place:])
        given.append(math.floor(total * weight / rest + Fraction(1, 2)) if weight else 0)
        total -= given[-1]
    return given


def _check(sizes: Sequence[int], weights: Sequence[float]) -> None:
    if len(weights) != len(sizes):
        raise InvalidRecipe(f"{len(weights)} weights for {len(sizes)} datasets")
    for size, weight in zip(sizes, weights, strict=True):
        if not (math.isfinite(weight) and weight >= 0):
            raise InvalidRecipe(f"weight {weight} is not a number from 0 on")
        if weight and not size:
            raise InvalidRecipe(f"weight {weight} is of a dataset without samples")
    if not any(weights):
        raise InvalidRecipe("no dataset has a weight above 0")
