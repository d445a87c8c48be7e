"""Take images in one by one and send them to the devices in batches.

While a device works, the next batch gathers by itself. What is in a batch is decided only when a device is free, so
images whose clients have gone, or whose time is over, never reach it; and whichever device is free first takes the
batch, so that the least loaded one gets the most.
"""

from __future__ import annotations

import asyncio
import logging
import time
from bisect import insort
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from model_zoo.preprocess import NetworkInput
from model_zoo.segmentation import PLAIN, Segmentation, Wanted
from service.admission import Priority
from service.batch_limits import BatchLimits, Shape
from service.devices import Device
from service.errors import DeviceFailed, ForwardFailed, OutOfMemory, ServiceError, ShuttingDown
from service.runtimes.runtime import Runtime

log = logging.getLogger(__name__)

MAX_MASK_PIXELS = 8_000_000
"""Most pixels that the masks of a batch have together; an image that has more goes alone.

Images that a network sees at one size may have masks of any. What is on the device cannot be called back, so a batch of
large masks would keep everybody waiting for clients who have long gone.
"""

_MOST_SHAPES = 64


@dataclass(frozen=True, slots=True)
class Replica:
    """Hold a model on one device."""

    runtime: Runtime
    device: Device
    limits: BatchLimits
    runtime_name: str


@dataclass(frozen=True, slots=True)
class BatchRules:
    """Say how batches gather: the longest wait of an idle device, and how far bulk images stand behind others.

    A bulk image is taken in the order of one that came ``bulk_delay`` seconds after it, so it never waits for ever.
    """

    max_delay: float = 0.0
    bulk_delay: float = 2.0


@dataclass(frozen=True, slots=True)
class BatchEvents:
    """Hold who hears of the size of every batch before it is run, of every lack of memory, and how many wait."""

    on_batch: Callable[[int], None] = lambda _: None
    on_out_of_memory: Callable[[], None] = lambda: None
    on_waiting: Callable[[int], None] = lambda _: None


@dataclass(frozen=True, slots=True)
class Forwarded:
    """Hold what came back from the device, and for how long the image waited for it and was on it."""

    segmentation: Segmentation
    queue: float
    infer: float


@dataclass(frozen=True, slots=True, eq=False)
class _Waiting:
    image: NetworkInput
    wanted: Wanted
    delay: float
    answer: asyncio.Future[Forwarded]
    arrival: float = field(default_factory=time.monotonic)

    @property
    def rank(self) -> float:
        return self.arrival + self.delay

    @property
    def shape(self) -> Shape:
        return tuple(self.image.pixels.shape)

    @property
    def mask_pixels(self) -> int:
        height, width = self.image.size
        return height * width


class Batcher:
    """Gather the images of one model, by the shape of their network input, into batches for its replicas."""

    def __init__(
        self,
        replicas: Sequence[Replica],
        rules: BatchRules = BatchRules(),  # frozen
        events: BatchEvents = BatchEvents(),  # frozen
    ) -> None:
        self.replicas = tuple(replicas)
        self.shapes: Counter[Shape] = Counter()
        self._rules = rules
        self._events = events
        self._groups: dict[Shape, list[_Waiting]] = {}
        self._arrived = asyncio.Event()
        self._is_closed = False
        self._workers = [asyncio.create_task(self._work(replica), name="batcher") for replica in replicas]

    async def forward(
        self, image: NetworkInput, *, wanted: Wanted = PLAIN, priority: Priority = Priority.INTERACTIVE
    ) -> Forwarded:
        """Wait for the segmentation of one image; a caller that is cancelled takes its image out of the queue.

        Raises:
            ForwardFailed: The network failed on this very image.
            OutOfMemory: The image does not fit into the device's memory now, not even alone.
            DeviceFailed: All devices of the model are broken, or the image's broke while it was there.
            ShuttingDown: The batcher was closed first.
        """
        if self._is_closed:
            raise ShuttingDown("no new work is taken, the service is about to stop")
        if all(replica.device.is_broken for replica in self.replicas):
            raise DeviceFailed("no device of this model works any more")
        delay = self._rules.bulk_delay if priority is Priority.BULK else 0.0
        waiting = _Waiting(image, wanted, delay, asyncio.get_running_loop().create_future())
        insort(self._groups.setdefault(waiting.shape, []), waiting, key=lambda other: other.rank)
        self._count_shape(waiting.shape)
        self._tell_waiting()
        self._arrived.set()
        try:
            return await waiting.answer
        finally:
            if waiting.answer.cancelled() and waiting in self._groups.get(waiting.shape, []):
                self._groups[waiting.shape].remove(waiting)  # not only when a device is free: its place is free now
                self._tell_waiting()

    async def close(self) -> None:
        """End the workers and let the model go; whoever still waits is told that the service stops."""
        self._is_closed = True
        workers, self._workers = self._workers, []
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
        self.replicas = ()
        self._fail_all(ShuttingDown("the service stopped before this image's turn"))

    async def _work(self, replica: Replica) -> None:
        while not replica.device.is_broken:
            await self._gather(replica)
            async with replica.device.turn:
                batch = [] if replica.device.is_broken else self._take_batch(replica)
                if batch:
                    await self._answer(batch, replica)
        if all(other.device.is_broken for other in self.replicas):
            self._fail_all(DeviceFailed("no device of this model works any more"))

    async def _gather(self, replica: Replica) -> None:
        """Wait until a group is worth running: it is full, or its first image has waited for ``max_delay``."""
        while True:
            self._drop_abandoned()
            if any(self._is_due(shape, replica) for shape in self._groups):
                return
            self._arrived.clear()
            try:
                async with asyncio.timeout(self._patience()):
                    await self._arrived.wait()
            except TimeoutError:
                pass  # the delay of the first image is over

    def _take_batch(self, replica: Replica) -> list[_Waiting]:
        """Take the group whose first image is the next in order, among those that are due."""
        self._drop_abandoned()
        due = [shape for shape in self._groups if self._is_due(shape, replica)]
        if not due:
            return []
        shape = min(due, key=lambda known: self._groups[known][0].rank)
        group = self._groups[shape]
        size, num_pixels = 1, group[0].mask_pixels
        for waiting in group[1 : replica.limits.of(shape)]:
            num_pixels += waiting.mask_pixels
            if num_pixels > MAX_MASK_PIXELS:
                break
            size += 1
        batch, group[:size] = group[:size], []
        self._tell_waiting()
        return batch

    def _drop_abandoned(self) -> None:
        """Forget empty groups, and images whose callers are about to notice that they were cancelled."""
        for shape, group in list(self._groups.items()):
            kept = [waiting for waiting in group if not waiting.answer.done()]
            if kept:
                self._groups[shape] = kept
            else:
                del self._groups[shape]

    def _is_due(self, shape: Shape, replica: Replica) -> bool:
        group = self._groups[shape]
        is_full = len(group) >= replica.limits.of(shape)
        return is_full or time.monotonic() >= group[0].arrival + self._rules.max_delay

    def _patience(self) -> float | None:
        """Give the time until the next group is due, or nothing when there is none."""
        firsts = [group[0].arrival for group in self._groups.values()]
        return max(0.0, min(firsts) + self._rules.max_delay - time.monotonic()) if firsts else None

    async def _answer(self, batch: list[_Waiting], replica: Replica) -> None:
        """Run a batch and answer all of its images: what fails is halved, until the one that fails stands alone."""
        try:
            parts = [batch]
            while parts:
                part = [waiting for waiting in parts.pop() if not waiting.answer.done()]
                if part and not await self._try(part, replica):
                    middle = (len(part) + 1) // 2
                    parts += [part[middle:], part[:middle]]
        finally:
            for waiting in batch:  # only when the batcher was closed on the way
                _fail(waiting, ShuttingDown("the service stopped while this image was on the device"))

    async def _try(self, batch: list[_Waiting], replica: Replica) -> bool:
        """Run a batch; give whether all is said. If it is not, to run half of it may help."""
        started = time.monotonic()
        try:
            self._events.on_batch(len(batch))
            segmentations = await replica.device.run(
                replica.runtime,
                [waiting.image for waiting in batch],
                [waiting.wanted for waiting in batch],
            )
            answers = list(zip(batch, segmentations, strict=True))
        except Exception as error:  # networks fail in many ways; the callers hear of it, one by one
            return self._is_said(error, batch, replica)
        ended = time.monotonic()
        for waiting, segmentation in answers:
            if not waiting.answer.done():
                waiting.answer.set_result(Forwarded(segmentation, started - waiting.arrival, ended - started))
        return True

    def _is_said(self, error: Exception, batch: list[_Waiting], replica: Replica) -> bool:
        """Learn from a batch's failure; it is the answer of an image that was alone, and of all on a broken device."""
        log.warning("batch failed", extra={"images": len(batch), "error": type(error).__name__})
        if isinstance(error, OutOfMemory):
            self._events.on_out_of_memory()
            limit = replica.limits.lower(batch[0].shape, failed=len(batch))
            log.warning("batch limit lowered", extra={"shape": list(batch[0].shape), "limit": limit})
        if len(batch) > 1 and not isinstance(error, DeviceFailed):
            return False
        for waiting in batch:
            _fail(waiting, error)
        return True

    def _count_shape(self, shape: Shape) -> None:
        self.shapes[shape] += 1
        if len(self.shapes) > _MOST_SHAPES:
            self.shapes = Counter(dict(self.shapes.most_common(_MOST_SHAPES // 2)))

    def _fail_all(self, error: ServiceError) -> None:
        for group in self._groups.values():
            for waiting in group:
                _fail(waiting, error)
        self._groups.clear()
        self._tell_waiting()

    def _tell_waiting(self) -> None:
        self._events.on_waiting(sum(map(len, self._groups.values())))


def _fail(waiting: _Waiting, error: Exception) -> None:
    if waiting.answer.done():
        return
    if not isinstance(error, ServiceError):
        told = ForwardFailed("the network failed on this image; other images may work")
        told.__cause__ = error
        error = told
    waiting.answer.set_exception(error)
