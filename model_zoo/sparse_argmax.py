"""Take the argmax of bilinearly upsampled scores, computing no more of them than the borders between classes need.

A pixel lies in a cell between four of the coarser scores, and its own are a mean of theirs. Where one class is the
highest in all four corners of a cell, it is the highest everywhere in it, so that only cells whose corners differ need
any arithmetic: a few in a hundred, in masks of photos. It holds from one upsampling to the next as well. Nothing is
approximated; pixels may differ from the plain way where two classes are equal up to rounding.

Letters: C classes, h and w size of the scores, H and W size of the finer grid, P some pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

_MIXED = 255
"""The label of a cell whose corners differ; there are at most 255 classes."""

_PIXELS_AT_ONCE = 1 << 14
"""So many pixels' scores stay in a processor's cache."""

_SPARSE = 1 / 8
"""Of the mask's pixels; where more lie in mixed cells, to compute all of them in order is quicker."""

_SPARSE_ON_THE_WAY = 1 / 2
"""The same of a grid that is enlarged once more, most of whose pixels need not be looked at then."""


@dataclass(frozen=True, slots=True)
class Step:
    """Say to what ``grid``, ``(H, W)``, scores are upsampled, and how much of it is kept from its upper left corner."""

    grid: tuple[int, int]
    kept: tuple[int, int]
    align_corners: bool = False

    @property
    def is_plain(self) -> bool:
        """Whether all of the grid is kept, and pixels are areas, not points at their corners."""
        return self.grid == self.kept and not self.align_corners

    def apply(self, scores: Tensor) -> Tensor:
        """Map scores ``[C, h, w]`` to ``[C, H, W]``, float32, the plain way."""
        grid = F.interpolate(one_image(scores), self.grid, mode="bilinear", align_corners=self.align_corners)
        return grid[0, :, : self.kept[0], : self.kept[1]]


@dataclass(frozen=True, slots=True)
class _Taps:
    """Hold for each index of one axis the two coarser ones that it lies between, and the share of the second."""

    first: Tensor
    second: Tensor
    share: Tensor


def sparse_argmax(scores: Tensor, steps: Sequence[Step]) -> Tensor | None:
    """Give the mask uint8 ``[H, W]`` of scores ``[C, h, w]`` after all steps, or nothing where it is not sparse."""
    level: _Level = _Coarsest(scores.permute(1, 2, 0).contiguous())
    for number, step in enumerate(steps, start=1):
        finer = _refine(level, step, most_mixed=_SPARSE if number == len(steps) else _SPARSE_ON_THE_WAY)
        if finer is None:
            return None
        level = finer
    return level.labels


def one_image(scores: Tensor) -> Tensor:
    """Map scores ``[C, h, w]`` to float32 ``[1, C, h, w]`` with the classes of a pixel side by side.

    Upsampling takes half as long so, but only where the stride of the batch says it, too: that of ``scores[None]``
    does not, and torch would copy the scores into the other layout and upsample them there.
    """
    return scores.permute(1, 2, 0)[None].float().contiguous().permute(0, 3, 1, 2)


class _Level(Protocol):
    """Hold the labels of a grid, uint8 ``[h, w]``, and know its scores."""

    labels: Tensor

    def look_up(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Give a table of scores, and in which of its rows those of each pixel are; pixels are counted row by row."""
        ...


class _Coarsest:
    """Hold all scores, ``[h, w, C]``."""

    def __init__(self, scores: Tensor) -> None:
        self.labels = scores.max(dim=2).indices.to(torch.uint8)
        self._scores = scores.flatten(0, 1)

    def look_up(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        return self._scores, pixels


class _Finer:
    """Compute the scores of a grid from a coarser one, where they are asked for."""

    def __init__(self, coarser: _Level, labels: Tensor, rows: _Taps, columns: _Taps) -> None:
        self.labels = labels
        self._coarser = coarser
        self._rows = rows
        self._columns = columns

    def look_up(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        different, places = torch.unique(pixels, return_inverse=True)
        return self.at(different), places

    def at(self, pixels: Tensor) -> Tensor:
        """Give the scores ``[P, C]`` of pixels."""
        width, coarse_width = self.labels.shape[1], self._coarser.labels.shape[1]
        y, x = pixels // width, pixels % width
        top, bottom = self._rows.first[y] * coarse_width, self._rows.second[y] * coarse_width
        left, right = self._columns.first[x], self._columns.second[x]
        corners = torch.stack([top + left, top + right, bottom + left, bottom + right])
        table, places = self._coarser.look_up(corners)
        down, across = self._rows.share[y][:, None], self._columns.share[x][:, None]
        upper, lower = (_mix(table[places[i]], table[places[i + 1]], across) for i in (0, 2))
        return _mix(upper, lower, down)


def _refine(level: _Level, step: Step, *, most_mixed: float) -> _Finer | None:
    """Give the labels after one step, or nothing where more than a share of them would have to be computed."""
    height, width = level.labels.shape
    rows = _taps(height, step.grid[0], step.kept[0], step.align_corners, level.labels.device)
    columns = _taps(width, step.grid[1], step.kept[1], step.align_corners, level.labels.device)
    cells = _cells(level.labels)
    down, across = (_spans(taps.first, cells) for taps, cells in ((rows, height), (columns, width)))
    is_mixed = cells == _MIXED
    if _num_pixels(is_mixed, down, across) > most_mixed * len(rows.first) * len(columns.first):
        return None
    mixed = _pixels_in(is_mixed, down, across)
    labels = cells.index_select(1, columns.first).index_select(0, rows.first)  # [H, W]
    finer = _Finer(level, labels, rows, columns)
    flat = labels.view(-1)
    for pixels in torch.split(mixed, _PIXELS_AT_ONCE):
        flat[pixels] = finer.at(pixels).max(dim=1).indices.to(torch.uint8)
    return finer


@dataclass(frozen=True, slots=True)
class _Spans:
    """Hold how many indices of one axis lie in each of its cells, and the first of them."""

    counts: Tensor
    starts: Tensor


def _spans(cells: Tensor, num_cells: int) -> _Spans:
    """Find the spans of an axis from the cell of each of its indices, which are in order."""
    counts = torch.bincount(cells, minlength=num_cells)
    return _Spans(counts, counts.cumsum(0) - counts)


def _num_pixels(is_chosen: Tensor, down: _Spans, across: _Spans) -> float:
    """Count the pixels that lie in chosen cells."""
    return float(down.counts.float() @ is_chosen.float() @ across.counts.float())


def _pixels_in(is_chosen: Tensor, down: _Spans, across: _Spans) -> Tensor:
    """Give the pixels that lie in chosen cells, counted row by row, cell after cell.

    Nobody has to look at all pixels for it.
    """
    row, column = is_chosen.nonzero(as_tuple=True)
    widths = across.counts[column]
    sizes = down.counts[row] * widths
    cell = torch.repeat_interleave(sizes)
    inside = torch.arange(len(cell), device=cell.device) - (sizes.cumsum(0) - sizes)[cell]
    y = down.starts[row][cell] + inside // widths[cell]
    x = across.starts[column][cell] + inside % widths[cell]
    return y * int(across.counts.sum()) + x


def _cells(labels: Tensor) -> Tensor:
    """Give the label of each cell, uint8 ``[h, w]``; a cell has its first corner's index, the last ones have two."""
    is_same = torch.ones_like(labels, dtype=torch.bool)
    is_same[:, :-1] &= labels[:, :-1] == labels[:, 1:]
    is_same[:-1] &= labels[:-1] == labels[1:]
    is_same[:-1, :-1] &= labels[:-1, :-1] == labels[1:, 1:]
    return torch.where(is_same, labels, _MIXED)


def _taps(source: int, target: int, kept: int, align_corners: bool, device: torch.device) -> _Taps:
    """Give the taps of the first ``kept`` of ``target`` indices, as ``F.interpolate`` has them."""
    index = torch.arange(kept, device=device, dtype=torch.float32)
    if align_corners:
        position = index * ((source - 1) / max(1, target - 1))
    else:
        position = ((index + 0.5) * (source / target) - 0.5).clamp_(min=0)
    first = position.long().clamp_(max=source - 1)
    return _Taps(first, (first + 1).clamp_(max=source - 1), position - first)


def _mix(first: Tensor, second: Tensor, share: Tensor) -> Tensor:
    """Give the weighted mean: the larger of two stays the larger in this form, which is not so for torch.lerp's."""
    return first * (1 - share) + second * share
