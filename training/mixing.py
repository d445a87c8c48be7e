"""Choose the samples of every epoch: each once, by weight of their dataset, by factor, or in a sliding window."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from fractions import Fraction
from itertools import accumulate, chain

import torch
from torch import Tensor

from training.errors import InvalidRecipe
from training.random_key import random_key

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
        order = self._permutation(len(self), number)
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
            order = self._permutation(size, place, lap) + self._offsets[place]
            yield lap, order[max(start - done, 0) : end - done]

    def _permutation(self, size: int, *what: int) -> Tensor:
        return torch.randperm(size, generator=_generator(self._seed, *what))


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
        generator = _generator(self._seed, "repeated", number)
        order = torch.randperm(len(self), generator=generator)
        ends = self._factors[order].cumsum(0)
        marks = (torch.arange(len(self)) + torch.rand((), generator=generator, dtype=torch.float64)) / len(self)
        visited = order[torch.searchsorted(ends / ends[-1], marks, right=True).clamp(max=len(self) - 1)]
        shuffled = visited[torch.randperm(len(self), generator=generator)].tolist()
        first = (number - 1) * len(self) + 1
        return list(enumerate(shuffled, first))  # every visit of a run has its own number, and so its own random crop


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


def share_out(factors: Sequence[float], sizes: Sequence[int], weights: Sequence[float]) -> list[float]:
    """Scale the factors of each dataset's samples so that their sum is the dataset's weight."""
    scaled: list[float] = []
    for size, weight in zip(sizes, weights, strict=True):
        own = factors[len(scaled) : len(scaled) + size]
        total = sum(own)
        scaled += [weight * factor / total if weight else 0.0 for factor in own]
    return scaled


def _generator(seed: int, *what: int | str) -> torch.Generator:
    return torch.Generator().manual_seed(random_key(seed, *what))


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
