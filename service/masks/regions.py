"""Find the connected regions of a mask: pixels of one label that touch along an edge.

Letters: H and W height and width, R runs along the rows, P pairs of runs that touch.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.masks.encoder import Mask

Numbers = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Regions:
    """Hold the runs of a mask, ``[R]`` each: where they start, how long they are, their label and their region.

    A region's number is that of its first run. No run goes on in the next row.
    """

    starts: Numbers
    lengths: Numbers
    labels: Mask
    numbers: Numbers
    size: tuple[int, int]

    def at(self, y: Numbers, x: Numbers) -> Numbers:
        """Give the regions that hold these pixels."""
        return self.numbers[np.searchsorted(self.starts, y * self.size[1] + x, side="right") - 1]

    def without_small(self, min_area: int, *, void: int) -> Mask:
        """Give the mask ``[H, W]`` with ``void`` for the regions that have fewer pixels."""
        areas = np.bincount(self.numbers, weights=self.lengths)
        labels = np.where(areas[self.numbers] < min_area, np.uint8(void), self.labels)
        return np.repeat(labels, self.lengths).reshape(self.size)


def find_regions(mask: Mask) -> Regions:
    """Find the regions of ``[H, W]``."""
    height, width = mask.shape
    flat = mask.ravel()
    is_start = np.empty(flat.size, np.bool_)
    np.not_equal(flat[1:], flat[:-1], out=is_start[1:])
    is_start[::width] = True
    starts = np.flatnonzero(is_start).astype(np.int64)
    lengths = np.diff(starts, append=flat.size)
    upper, lower = _touching(starts, lengths, width)
    labels = flat[starts]
    is_same = labels[upper] == labels[lower]
    return Regions(starts, lengths, labels, _joined(len(starts), upper[is_same], lower[is_same]), (height, width))


def _touching(starts: Numbers, lengths: Numbers, width: int) -> tuple[Numbers, Numbers]:
    """Give the pairs ``[P]`` of runs, the upper and the lower, that lie in neighbouring rows and share a column."""
    upper = np.flatnonzero(starts + width < starts[-1] + lengths[-1])
    below = starts[upper] + width
    first = np.searchsorted(starts, below, side="right") - 1
    last = np.searchsorted(starts, below + lengths[upper], side="left")
    numbers = last - first
    places = np.arange(numbers.sum()) - np.repeat(np.cumsum(numbers) - numbers, numbers)
    return np.repeat(upper, numbers), np.repeat(first, numbers) + places


def _joined(num_runs: int, upper: Numbers, lower: Numbers) -> Numbers:
    """Give each run the number of the first run that it is connected with, over any number of pairs.

    Shiloach and Vishkin 1982, https://doi.org/10.1016/0196-6774(82)90008-6: trees of runs hang themselves below
    smaller roots and become flat, until nothing changes.
    """
    roots = np.arange(num_runs, dtype=np.int64)
    while True:
        one, other = roots[upper], roots[lower]
        apart = one != other
        if not apart.any():
            return roots
        upper, lower = upper[apart], lower[apart]
        one, other = one[apart], other[apart]
        np.minimum.at(roots, np.maximum(one, other), np.minimum(one, other))
        while (roots != roots[roots]).any():
            roots = roots[roots]
