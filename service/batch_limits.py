"""Keep, for each shape of network input, how many images one forward pass takes."""

from __future__ import annotations

from collections.abc import Mapping

Shape = tuple[int, ...]
"""The shape ``(C, h, w)`` of an image as a network takes it in."""

MOST_SHAPES = 256
"""How many shapes that failed are remembered; of more, the one that failed longest ago is forgotten."""


class BatchLimits:
    """Hold the useful batch size of each shape on one device, and what a lack of memory taught.

    ``measured`` gives the batch size from which throughput grew no more; a shape that was not measured takes that of
    the one nearest in size, or where it is larger, as many as have no more pixels together: the memory of a batch was
    measured, too. None exceeds ``max_batch_size``.
    """

    def __init__(self, max_batch_size: int, measured: Mapping[Shape, int] | None = None) -> None:
        self._max_batch_size = max_batch_size
        self._measured = dict(measured or {})
        self._lowered: dict[Shape, int] = {}

    @property
    def lowered(self) -> Mapping[Shape, int]:
        """Give the limits that a lack of memory has taught."""
        return dict(self._lowered)

    def of(self, shape: Shape) -> int:
        """Give the most images of a shape that one batch may hold; at least 1."""
        limit = min(self._max_batch_size, self._measured_near(shape))
        return min(limit, self._lowered.get(shape, limit))

    def lower(self, shape: Shape, failed: int) -> int:
        """Remember that ``failed`` images of a shape had no room; give the new limit, half of them."""
        limit = min(max(1, failed // 2), self.of(shape))
        self._lowered.pop(shape, None)  # so that it stands last, and is the last to be forgotten
        self._lowered[shape] = limit
        if len(self._lowered) > MOST_SHAPES:
            del self._lowered[next(iter(self._lowered))]
        return limit

    def _measured_near(self, shape: Shape) -> int:
        if not self._measured:
            return self._max_batch_size
        nearest = min(self._measured, key=lambda known: abs(_num_pixels(known) - _num_pixels(shape)))
        limit = self._measured[nearest]
        return max(1, min(limit, limit * _num_pixels(nearest) // _num_pixels(shape)))


def _num_pixels(shape: Shape) -> int:
    return shape[-1] * shape[-2]
