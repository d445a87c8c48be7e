"""Find the outlines of the areas of a class, along the edges of its pixels: filled, they give the same pixels.

A vertex ``(x, y)`` is the corner that the pixels ``x - 1`` and ``x`` of the rows ``y - 1`` and ``y`` share. Pixels that
touch in nothing but a vertex are not connected. Letters: H and W height and width, N vertices, S segments.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.masks.regions import Numbers, find_regions

Ring = NDArray[np.int64]
"""Vertices ``[N, 2]``, as ``x, y``; the last is joined to the first. Inside is on the right hand, with y downwards."""


@dataclass(frozen=True, slots=True)
class Area:
    """Hold one connected area: its outline, and those of its holes, which run the other way round."""

    outline: Ring
    holes: tuple[Ring, ...]


def find_areas(is_inside: NDArray[np.bool_]) -> list[Area]:
    """Find the connected areas of ``[H, W]``, in the order in which the rows meet them."""
    rings = _rings(np.pad(is_inside.astype(np.int8), 1))
    if not rings:
        return []
    (x, y), (next_x, _) = np.moveaxis(np.stack([ring[:2] for ring in rings]), 0, -1)
    lies_below = next_x > x  # inside, for along a row a ring goes to the right above it
    regions = find_regions(is_inside.view(np.uint8)).at(np.where(lies_below, y, y - 1), np.minimum(x, next_x))
    outlines: dict[int, Ring] = {}
    holes: dict[int, list[Ring]] = {}
    for region, ring, is_outline in zip(regions.tolist(), rings, lies_below.tolist(), strict=True):
        if is_outline:  # a ring begins with its topmost part, and above a hole lies what is inside
            outlines[region] = ring
        else:
            holes.setdefault(region, []).append(ring)
    return [Area(outline, tuple(holes.get(region, ()))) for region, outline in sorted(outlines.items())]


def _rings(padded: NDArray[np.int8]) -> list[Ring]:
    """Give the rings of ``[H + 2, W + 2]``, each from its topmost row on, by the segments that run along rows."""
    along, down = _segments_along(padded), _segments_down(padded)
    following = down.led_to(along)[along.led_to(down)].tolist()
    is_done = bytearray(len(following))
    return [along.ring(order) for first in range(len(following)) if (order := _cycle(following, first, is_done))]


def _cycle(following: list[int], first: int, is_done: bytearray) -> list[int]:
    """Give the segments of a ring from the first on, or nothing if it is done already."""
    order = []
    segment = first
    while not is_done[segment]:
        is_done[segment] = 1
        order.append(segment)
        segment = following[segment]
    return order


@dataclass(frozen=True, slots=True)
class _Segments:
    """Hold straight parts of rings, ``[S]`` each.

    A key is the number of a vertex, twice, and 1 more for the lower of two rings that meet in it.
    """

    starts: Ring
    ends: Ring
    start_keys: Numbers
    end_keys: Numbers

    def led_to(self, others: _Segments) -> Numbers:
        """Give for each segment the one among the others that starts where it ends."""
        order: Numbers = np.argsort(others.start_keys)
        return order[np.searchsorted(others.start_keys, self.end_keys, sorter=order)]

    def ring(self, order: list[int]) -> Ring:
        """Put segments together, every second one of a ring."""
        vertices = np.empty((2 * len(order), 2), np.int64)
        vertices[::2], vertices[1::2] = self.starts[order], self.ends[order]
        return vertices


def _segments_along(padded: NDArray[np.int8]) -> _Segments:
    """Give the segments along rows, from the top: they go to the right above what is inside, to the left below it."""
    y, left, right, lies_below = _straight(padded)
    starts = np.stack((np.where(lies_below, left, right), y), axis=1)
    ends = np.stack((np.where(lies_below, right, left), y), axis=1)
    keys = [_keys(padded, vertices, is_lower=lies_below) for vertices in (starts, ends)]
    return _Segments(starts, ends, *keys)


def _segments_down(padded: NDArray[np.int8]) -> _Segments:
    """Give the segments along columns: they go down at the right of what is inside, up at its left."""
    x, top, bottom, goes_up = _straight(padded.T)
    starts = np.stack((x, np.where(goes_up, bottom, top)), axis=1)
    ends = np.stack((x, np.where(goes_up, top, bottom)), axis=1)
    return _Segments(starts, ends, _keys(padded, starts, is_lower=~goes_up), _keys(padded, ends, is_lower=goes_up))


def _straight(padded: NDArray[np.int8]) -> tuple[Numbers, Numbers, Numbers, NDArray[np.bool_]]:
    """Give each segment along a row: the row, the columns of its ends, and whether inside lies below."""
    edges = padded[1:] - padded[:-1]  # [H + 1, W + 2]: 1 where inside lies below, -1 where above
    row, column = np.nonzero(edges[:, 1:] != edges[:, :-1])  # where one begins, ends, or meets the next
    before, after = edges[row, column], edges[row, column + 1]
    begins, ends = np.flatnonzero(after), np.flatnonzero(before)  # the same number, in the same order
    return row[begins], column[begins], column[ends], after[begins] > 0


def _keys(padded: NDArray[np.int8], vertices: Ring, *, is_lower: NDArray[np.bool_]) -> Numbers:
    x, y = vertices[:, 0], vertices[:, 1]
    above, below = padded[y, x], padded[y + 1, x]
    two_rings_meet = (above == padded[y + 1, x + 1]) & (below == padded[y, x + 1]) & (above != below)
    keys: Numbers = 2 * (y * padded.shape[1] + x) + (two_rings_meet & is_lower)
    return keys


def rings_of(area: Area) -> Iterator[Ring]:
    """Give the outline of an area and those of its holes."""
    yield area.outline
    yield from area.holes
