"""Take images in one by one and send them to the device in batches.

While the device works, the next batch gathers by itself. What is in a batch is decided only when the device is free,
so images whose clients have gone, or whose time is over, never reach it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from model_zoo.predict import Segmentation
from model_zoo.preprocess import NetworkInput
from service.devices import Device
from service.errors import ForwardFailed, ServiceError, ShuttingDown
from service.runtimes.runtime import Runtime

log = logging.getLogger(__name__)

Shape = tuple[int, ...]

MAX_MASK_PIXELS = 8_000_000
"""Most pixels that the masks of a batch have together; an image that has more goes alone.

Images that a network sees at one size may have masks of any. What is on the device cannot be called back, so a batch of
large masks would keep everybody waiting for clients who have long gone.
"""


@dataclass(frozen=True, slots=True)
class Forwarded:
    """Hold what came back from the device, and for how long the image waited for it and was on it."""

    segmentation: Segmentation
    queue: float
    infer: float


@dataclass(frozen=True, slots=True)
class _Waiting:
    image: NetworkInput
    needs_probabilities: bool
    answer: asyncio.Future[Forwarded]
    arrival: float = field(default_factory=time.monotonic)

    @property
    def mask_pixels(self) -> int:
        height, width = self.image.size
        return height * width


class Batcher:
    """Gather the images of one model, by the shape of their network input, into batches.

    ``on_batch`` hears of the size of every batch before it is run.
    """

    def __init__(
        self,
        runtime: Runtime,
        device: Device,
        *,
        max_batch_size: int,
        max_delay: float = 0.0,
        on_batch: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._runtime = runtime
        self._device = device
        self._max_batch_size = max_batch_size
        self._max_delay = max_delay
        self._on_batch = on_batch
        self._groups: dict[Shape, deque[_Waiting]] = {}
        self._arrived = asyncio.Event()
        self._is_closed = False
        self._worker = asyncio.create_task(self._work(), name="batcher")

    async def forward(self, image: NetworkInput, *, needs_probabilities: bool) -> Forwarded:
        """Wait for the segmentation of one image; a caller that is cancelled takes its image out of the queue.

        Raises:
            ForwardFailed: The network failed on this very image.
            OutOfMemory: The image does not fit into the device's memory now, not even alone.
            ShuttingDown: The batcher was closed first.
        """
        if self._is_closed:
            raise ShuttingDown("no new work is taken, the service is about to stop")
        waiting = _Waiting(image, needs_probabilities, asyncio.get_running_loop().create_future())
        self._groups.setdefault(tuple(image.pixels.shape), deque()).append(waiting)
        self._arrived.set()
        return await waiting.answer

    async def close(self) -> None:
        """End the worker; whoever still waits is told that the service stops."""
        self._is_closed = True
        self._worker.cancel()
        await asyncio.wait([self._worker])
        for group in self._groups.values():
            for waiting in group:
                _fail(waiting, ShuttingDown("the service stopped before this image's turn"))
        self._groups.clear()

    async def _work(self) -> None:
        while True:
            await self._gather()
            async with self._device.turn:
                batch = self._take_batch()
                if batch:
                    await self._answer(batch)

    async def _gather(self) -> None:
        """Wait until a group is worth running: it is full, or its first image has waited for ``max_delay``."""
        while True:
            self._drop_abandoned()
            if any(self._is_due(group) for group in self._groups.values()):
                return
            self._arrived.clear()
            try:
                async with asyncio.timeout(self._patience()):
                    await self._arrived.wait()
            except TimeoutError:
                pass  # the delay of the first image is over

    def _take_batch(self) -> list[_Waiting]:
        """Take the group whose first image has waited longest, among those that are due."""
        self._drop_abandoned()
        due = [shape for shape, group in self._groups.items() if self._is_due(group)]
        if not due:
            return []
        group = self._groups[min(due, key=lambda shape: self._groups[shape][0].arrival)]
        batch = [group.popleft()]
        num_pixels = batch[0].mask_pixels
        while group and len(batch) < self._max_batch_size:
            num_pixels += group[0].mask_pixels
            if num_pixels > MAX_MASK_PIXELS:
                break
            batch.append(group.popleft())
        return batch

    def _drop_abandoned(self) -> None:
        for shape, group in list(self._groups.items()):
            kept = deque(waiting for waiting in group if not waiting.answer.done())
            if kept:
                self._groups[shape] = kept
            else:
                del self._groups[shape]

    def _is_due(self, group: deque[_Waiting]) -> bool:
        return len(group) >= self._max_batch_size or time.monotonic() >= group[0].arrival + self._max_delay

    def _patience(self) -> float | None:
        """Give the time until the next group is due, or nothing when there is none."""
        firsts = [group[0].arrival for group in self._groups.values()]
        return max(0.0, min(firsts) + self._max_delay - time.monotonic()) if firsts else None

    async def _answer(self, batch: list[_Waiting]) -> None:
        """Run a batch and answer all of its images, whatever happens; after a failure each is tried alone."""
        try:
            if await self._try(batch) or len(batch) == 1:
                return
            for waiting in batch:
                if not waiting.answer.done():
                    await self._try([waiting])
        finally:
            for waiting in batch:  # only when the batcher was closed on the way
                _fail(waiting, ShuttingDown("the service stopped while this image was on the device"))

    async def _try(self, batch: list[_Waiting]) -> bool:
        """Run a batch; give whether it worked. The failure of an image that was alone is its answer."""
        started = time.monotonic()
        try:
            self._on_batch(len(batch))
            segmentations = await self._device.run(
                self._runtime,
                [waiting.image for waiting in batch],
                probabilities=any(waiting.needs_probabilities for waiting in batch),
            )
            answers = list(zip(batch, segmentations, strict=True))
        except Exception as error:  # networks fail in many ways; the callers hear of it, one by one
            log.warning("batch failed", extra={"images": len(batch), "error": type(error).__name__})
            if len(batch) == 1:
                _fail(batch[0], error)
            return False
        ended = time.monotonic()
        for waiting, segmentation in answers:
            if not waiting.answer.done():
                waiting.answer.set_result(Forwarded(segmentation, started - waiting.arrival, ended - started))
        return True


def _fail(waiting: _Waiting, error: Exception) -> None:
    if waiting.answer.done():
        return
    if not isinstance(error, ServiceError):
        told = ForwardFailed("the network failed on this image; other images may work")
        told.__cause__ = error
        error = told
    waiting.answer.set_exception(error)
