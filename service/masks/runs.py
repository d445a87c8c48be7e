"""Find the runs of equal pixels of a mask in one pass, down its columns or along its rows.

Letters: H and W height and width, R runs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model_zoo.labels import IGNORE_INDEX
from service.masks.encoder import Mask

Counts = NDArray[np.int64]
Box = tuple[int, int, int, int]
"""The left column, the top row, the width and the height, in pixels."""


@dataclass(frozen=True, slots=True)
class Runs:
    """Hold runs of equal pixels, each ``[R]``, in the order in which lines follow each other.

    A line is a column or a row, and ``line`` its length. ``starts`` and ``ends`` count pixels line after line; a run
    may go on in the next line.
    """

    starts: Counts
    ends: Counts
    labels: Mask
    line: int
    num_lines: int

    def of(self, label: int) -> Runs:
        """Give the runs of one label."""
        chosen = self.labels == label
        return Runs(self.starts[chosen], self.ends[chosen], self.labels[chosen], self.line, self.num_lines)

    def by_class(self) -> Iterator[tuple[int, Runs]]:
        """Give the runs of each class that occurs, by its id; void is no class."""
        for label in np.flatnonzero(np.bincount(self.labels, minlength=1)).tolist():
            if label != IGNORE_INDEX:
                yield label, self.of(label)

    @property
    def area(self) -> int:
        """Count the pixels."""
        return int((self.ends - self.starts).sum())

    def extent(self) -> tuple[int, int, int, int]:
        """Give the first and last line, and the first and last place in a line, that the runs touch."""
        last = self.ends - 1
        first_line, last_line = int(self.starts[0]) // self.line, int(last[-1]) // self.line
        if (self.starts // self.line != last // self.line).any():
            return first_line, last_line, 0, self.line - 1  # a run that goes on touches both ends of a line
        return first_line, last_line, int((self.starts % self.line).min()), int((last % self.line).max())

    def counts(self) -> Counts:
        """Give the lengths of the gaps between the runs and of the runs, in turn, a gap first; maybe of 0 pixels."""
        borders = np.stack((self.starts, self.ends), axis=1).ravel()
        counts = np.diff(borders, prepend=0, append=self.line * self.num_lines)
        return counts[:-1] if counts[-1] == 0 else counts

    def cropped(self) -> Runs:
        """Give the same runs in the smallest box that holds them, as ``extent`` gives it."""
        top, bottom, left, right = self.extent()
        width = right - left + 1
        if width == self.line:
            shift = top * self.line
            return Runs(self.starts - shift, self.ends - shift, self.labels, self.line, bottom - top + 1)
        rows, columns = np.divmod(self.starts, self.line)  # no run goes on, or the box were as wide as a line
        starts = (rows - top) * width + columns - left
        ends = starts + self.ends - self.starts
        is_first = np.concatenate(([True], starts[1:] != ends[:-1]))  # in the box, one may now go on in the next line
        is_last = np.concatenate((is_first[1:], [True]))
        return Runs(starts[is_first], ends[is_last], self.labels[is_first], width, bottom - top + 1)


def runs_down(mask: Mask) -> Runs:
    """Find the runs of a mask ``[H, W]`` column by column, as COCO has them."""
    return _runs(mask.ravel(order="F"), line=mask.shape[0])


def runs_along(mask: Mask) -> Runs:
    """Find the runs of a mask ``[H, W]`` row by row."""
    return _runs(mask.ravel(), line=mask.shape[1])


def box_down(runs: Runs) -> Box:
    """Give the box of runs that go down columns."""
    left, right, top, bottom = runs.extent()
    return left, top, right - left + 1, bottom - top + 1


def box_along(runs: Runs) -> Box:
    """Give the box of runs that go along rows."""
    top, bottom, left, right = runs.extent()
    return left, top, right - left + 1, bottom - top + 1


def _runs(flat: Mask, *, line: int) -> Runs:
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    starts = np.concatenate(([0], changes)).astype(np.int64)
    ends = np.concatenate((changes, [flat.size])).astype(np.int64)
    return Runs(starts, ends, flat[starts], line, flat.size // line)
