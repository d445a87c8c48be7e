"""Bound the work in progress: refuse at the door, before any work is done."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from service.errors import QueueFull, ShuttingDown


class Admission:
    """Let in at most ``limit`` images at a time, and none once it is closed."""

    def __init__(self, limit: int, *, on_change: Callable[[int], None] = lambda _: None) -> None:
        self._limit = limit
        self._on_change = on_change
        self._in_flight = 0
        self._is_open = True

    @property
    def in_flight(self) -> int:
        """Count the images that are in."""
        return self._in_flight

    def check(self) -> None:
        """Do nothing if an image would be let in now.

        Raises:
            QueueFull: As many images as allowed are in.
            ShuttingDown: The admission is closed.
        """
        if not self._is_open:
            raise ShuttingDown("no new work is taken, the service is about to stop")
        if self._in_flight >= self._limit:
            raise QueueFull(f"{self._in_flight} images are in work, at most {self._limit}")

    @contextmanager
    def admit(self) -> Iterator[None]:
        """Hold a place for one image; raise as ``check`` does when there is none."""
        self.check()
        self._change(1)
        try:
            yield
        finally:
            self._change(-1)

    def close(self) -> None:
        """Refuse everything from now on; what is in stays in."""
        self._is_open = False

    def _change(self, by: int) -> None:
        self._in_flight += by
        self._on_change(self._in_flight)
