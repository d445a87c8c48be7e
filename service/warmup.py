"""Run a model before it serves: fill its caches, and measure which batches pay and what memory they take."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import prod

import torch

from model_zoo.preprocess import NetworkInput, network_size, padded_size
from model_zoo.segmentation import PLAIN, Wanted
from model_zoo.spec import ModelSpec
from service.batch_limits import Shape
from service.devices import Device
from service.errors import OutOfMemory
from service.memory import measured_peak
from service.runtimes.runtime import Runtime

_LONGEST_SIDE = 1024
_NATIVE_SIDE = 512

_LEAST_GROWTH = 1.05
"""A larger batch pays when it brings so many times the images a second."""

_STEEP_GROWTH = 1.5
"""Where throughput grows so much, a batch of twice the size takes hardly longer: it is tried, whatever was spent."""

_SECONDS_A_SHAPE = 0.9
"""What the timed passes of a shape take together before no larger size is tried."""

_SLOW_PASS = 0.5
"""A network that takes so many seconds for one image is not tried with two."""

_SECONDS_A_SIZE = 0.1
_LONG_PASS = 0.3
_MOST_PASSES = 3

_DEAREST = Wanted(sums=True)
"""What memory is measured with: what takes more is rarely wanted. Time is that of plain masks, which most want."""


@dataclass(frozen=True, slots=True)
class WarmUp:
    """Hold what was measured.

    ``batch_sizes`` is the useful batch size of each shape, ``peak_bytes`` the most memory that a pass took beside the
    weights.
    """

    batch_sizes: Mapping[Shape, int]
    peak_bytes: int


async def warm_up(  # noqa: PLR0913
    runtime: Runtime,
    device: Device,
    spec: ModelSpec,
    *,
    max_batch_size: int,
    shapes: Sequence[Shape] = (),
    known: WarmUp | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> WarmUp:
    """Run a model on its usual ``shapes``, or else on those of the spec, and measure it.

    Every pass has a turn of its own, so that a model that serves already waits for one of them at most. With a
    ``known`` measurement of the same checkpoint nothing is measured, and only a GPU runs one image to fill its caches.

    Raises:
        OutOfMemory: One image of a shape is too much.
    """
    passes = _Passes(runtime, device, clock)
    if known is not None:
        if device.device.type != "cpu":
            await passes.seconds(next(iter(known.batch_sizes)), 1)
        return known
    usual = dict.fromkeys(shapes or usual_shapes(spec))  # padding makes some of them one
    found: dict[Shape, _Useful] = {}
    for shape in usual:
        turned = found.get((shape[0], shape[2], shape[1]))  # as many pixels, so as large a batch
        found[shape] = turned or await _useful(passes, shape, max_batch_size)
        if turned:
            await passes.seconds(shape, 1)
    largest = max(usual, key=lambda shape: found[shape].batch_size * prod(shape))
    return WarmUp({shape: found[shape].batch_size for shape in usual}, found[largest].peak_bytes)


def usual_shapes(spec: ModelSpec) -> list[Shape]:
    """Give the shapes of 4:3 and 3:4 images, at the size that a network sees them or, where that is large, smaller."""
    side = _NATIVE_SIDE if spec.size.policy == "native" else min(spec.size.side, _LONGEST_SIDE)
    rule = spec.size.model_copy(update={"side": side})
    channels = len(spec.input.mean)
    landscape = (side * 3 // 4, side) if rule.policy == "native" else network_size((3 * side, 4 * side), rule)
    height, width = padded_size(landscape, rule)
    return [(channels, height, width), (channels, width, height)]


@dataclass(frozen=True, slots=True)
class _Passes:
    """Run blank batches on a device, one a turn."""

    runtime: Runtime
    device: Device
    clock: Callable[[], float]

    async def seconds(self, shape: Shape, size: int) -> float:
        """Give the time of one pass; what it waited for the device is not in it."""
        async with self.device.turn:
            return await self.device.run(self._timed, [_blank(shape)] * size, PLAIN)

    async def peak_bytes(self, shape: Shape, size: int) -> int:
        """Give the most memory that a pass takes beside the weights; to measure it slows the pass."""
        async with self.device.turn:
            work = partial(self._timed, [_blank(shape)] * size, _DEAREST)
            _, peak = await self.device.run(measured_peak, self.device.device, work)
            return peak

    def _timed(self, batch: Sequence[NetworkInput], wanted: Wanted) -> float:
        started = self.clock()
        self.runtime(batch, [wanted] * len(batch))
        return self.clock() - started


@dataclass(frozen=True, slots=True)
class _Useful:
    batch_size: int
    peak_bytes: int


async def _useful(passes: _Passes, shape: Shape, max_batch_size: int) -> _Useful:
    """Give the batch size from which the images a second grow no more, or more would take too long to find out."""
    if max_batch_size == 1:
        return _Useful(1, await passes.peak_bytes(shape, 1))
    spent, useful, throughput, goes_on = 0.0, _Useful(0, 0), 0.0, True
    size, most = 1, max_batch_size
    while size > useful.batch_size:
        if not goes_on and spent + size / throughput > _SECONDS_A_SHAPE:
            break
        try:
            peak_bytes = await passes.peak_bytes(shape, size)  # fills caches, too, so its time says nothing
            durations = await _several(passes, shape, size)
        except OutOfMemory:
            if size == 1:
                raise
            size = most = size // 2
            continue
        spent += sum(durations)
        found = size / min(durations)  # whatever else runs here only makes them longer
        if found < _LEAST_GROWTH * throughput:
            break
        goes_on = found > _STEEP_GROWTH * throughput if throughput else min(durations) < _SLOW_PASS
        useful, throughput = _Useful(size, peak_bytes), found
        size = min(2 * size, most)
    return useful


async def _several(passes: _Passes, shape: Shape, size: int) -> list[float]:
    """Time a batch size: two times or three when a pass is short, once when it is long."""
    durations = [await passes.seconds(shape, size)]
    if durations[0] < _LONG_PASS:
        durations.append(await passes.seconds(shape, size))
    while len(durations) < _MOST_PASSES and sum(durations) < _SECONDS_A_SIZE:
        durations.append(await passes.seconds(shape, size))
    return durations


def _blank(shape: Shape) -> NetworkInput:
    height, width = shape[-2:]
    return NetworkInput(torch.zeros(shape, dtype=torch.uint8), (height, width), (height, width))
