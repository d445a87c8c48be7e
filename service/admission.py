"""Bound the work in progress: refuse at the door, before any work is done."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from threading import Lock

from service.errors import QueueFull, ShuttingDown


class Priority(StrEnum):
    """Say whether somebody waits for the answer, or a program that has time."""

    INTERACTIVE = "interactive"
    BULK = "bulk"


class Place:
    """Hold what one request takes of an admission, until it is left."""

    def __init__(self, pixels: _Pixels) -> None:
        self._pixels = pixels
        self._num_pixels = 0
        self._is_left = False

    def add_pixels(self, num_pixels: int) -> None:
        """Count the pixels of an image that is about to be decoded; may be called from any thread.

        Raises:
            QueueFull: The images in work have as many pixels as allowed.
        """
        with self._pixels.lock:
            if not self._is_left:  # or a decoder would count, and never be subtracted, after its client has gone
                self._pixels.take(num_pixels)
                self._num_pixels += num_pixels

    def leave(self) -> None:
        """Give everything back."""
        with self._pixels.lock:
            self._pixels.total -= self._num_pixels
            self._num_pixels, self._is_left = 0, True


class Admission:
    """Let in at most ``max_images`` images with ``max_pixels`` pixels at a time, and none once it is closed.

    Bulk images take at most half of the places, so that they never shut the others out. An image that is larger than
    ``max_pixels`` comes in when it is alone. ``on_change`` hears by how many the images that are in change.
    """

    def __init__(self, *, max_images: int, max_pixels: int, on_change: Callable[[int], None] = lambda _: None) -> None:
        self._max_images = max_images
        self._pixels = _Pixels(max_pixels)
        self._on_change = on_change
        self._in_flight = dict.fromkeys(Priority, 0)
        self._is_open = True

    @property
    def in_flight(self) -> int:
        """Count the images that are in."""
        return sum(self._in_flight.values())

    def check(self, priority: Priority = Priority.INTERACTIVE) -> None:
        """Do nothing if a request would be let in now; to be asked before its body is read.

        Raises:
            QueueFull: As many images as allowed are in.
            ShuttingDown: The admission is closed.
        """
        if not self._is_open:
            raise ShuttingDown("no new work is taken, the service is about to stop")
        self._check_room(1, priority)

    @contextmanager
    def admit(self, priority: Priority = Priority.INTERACTIVE, *, num_images: int = 1) -> Iterator[Place]:
        """Hold a place for each image of a request; whoever came before the closing still gets one.

        Raises:
            QueueFull: As many images as allowed are in.
        """
        self._check_room(num_images, priority)
        place = Place(self._pixels)
        self._change(num_images, priority)
        try:
            yield place
        finally:
            place.leave()
            self._change(-num_images, priority)

    def close(self) -> None:
        """Refuse everything from now on; what is in stays in."""
        self._is_open = False

    def _check_room(self, num_images: int, priority: Priority) -> None:
        if self.in_flight + num_images > self._max_images:
            raise QueueFull(f"{self.in_flight} images are in work, at most {self._max_images} (max_in_flight)")
        most_bulk = max(1, self._max_images // 2)
        if priority is Priority.BULK and self._in_flight[priority] + num_images > most_bulk:
            raise QueueFull(
                f"{self._in_flight[priority]} bulk images are in work, at most {most_bulk}, half of max_in_flight"
            )

    def _change(self, by: int, priority: Priority) -> None:
        self._in_flight[priority] += by
        self._on_change(by)


class _Pixels:
    def __init__(self, most: int) -> None:
        self.total = 0
        self.lock = Lock()
        self._most = most

    def take(self, num_pixels: int) -> None:
        if self.total and self.total + num_pixels > self._most:
            raise QueueFull(
                f"the images in work have {self.total} pixels and this one {num_pixels},"
                f" at most {self._most} in all (max_in_flight_pixels)"
            )
        self.total += num_pixels
