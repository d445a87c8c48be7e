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

_SPARSE = 1 / 4
"""Of the pixels; where more lie in mixed cells, to compute all of them in order is quicker."""


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
        images = scores[None].float().contiguous(memory_format=torch.channels_last)  # in which it takes half as long
        grid = F.interpolate(images, self.grid, mode="bilinear", align_corners=self.align_corners)
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
    for step in steps:
        finer = _refine(level, step)
        if finer is None:
            return None
        level = finer
    return level.labels


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


def _refine(level: _Level, step: Step) -> _Finer | None:
    """Give the labels after one step, or nothing where too much would have to be computed."""
    height, width = level.labels.shape
    rows = _taps(height, step.grid[0], step.kept[0], step.align_corners, level.labels.device)
    columns = _taps(width, step.grid[1], step.kept[1], step.align_corners, level.labels.device)
    cells = _cells(level.labels)
    mixed = _pixels_in(cells == _MIXED, rows.first, columns.first)
    if len(mixed) > _SPARSE * len(rows.first) * len(columns.first):
        return None
    labels = cells.index_select(1, columns.first).index_select(0, rows.first)  # [H, W]
    finer = _Finer(level, labels, rows, columns)
    flat = labels.view(-1)
    for pixels in torch.split(mixed, _PIXELS_AT_ONCE):
        flat[pixels] = finer.at(pixels).max(dim=1).indices.to(torch.uint8)
    return finer


def _pixels_in(is_chosen: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Give the pixels that lie in chosen cells, counted row by row, cell after cell.

    ``rows`` ``[H]`` and ``columns`` ``[W]`` hold the cell of each index, in order: so nobody has to look at all pixels.
    """
    (num_rows, first_row), (num_columns, first_column) = (
        _spans(cells, num_cells) for cells, num_cells in zip((rows, columns), is_chosen.shape, strict=True)
    )
    down, across = is_chosen.nonzero(as_tuple=True)
    widths = num_columns[across]
    sizes = num_rows[down] * widths
    cell = torch.repeat_interleave(sizes)
    inside = torch.arange(len(cell), device=cell.device) - (sizes.cumsum(0) - sizes)[cell]
    y = first_row[down][cell] + inside // widths[cell]
    x = first_column[across][cell] + inside % widths[cell]
    return y * len(columns) + x


def _spans(cells: Tensor, num_cells: int) -> tuple[Tensor, Tensor]:
    """Give of each cell of an axis how many indices lie in it, and the first of them."""
    counts = torch.bincount(cells, minlength=num_cells)
    return counts, counts.cumsum(0) - counts


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
