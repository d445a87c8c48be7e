"""Bring a checkpoint from its file onto the devices: verify it, build it, warm it up, all off the event loop."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from copy import deepcopy
from dataclasses import replace

import torch

from model_zoo.checkpoint import Checkpoint, load, verify
from service.batch_limits import BatchLimits, Shape
from service.batching import Batcher, BatchEvents, BatchRules, Replica
from service.catalog import Candidate
from service.devices import Device
from service.errors import DeviceFailed, ModelNotReady
from service.metrics import Metrics
from service.runtimes.runtime import RuntimeBuilder
from service.segmenter import Footprint, Segmenter
from service.settings import Settings
from service.tuning import choose
from service.warmup import WarmUp, warm_up

_MOST_WARM_SHAPES = 4


class Loader:
    """Load checkpoints, one at a time, in a thread of its own that gives way to those that answer requests."""

    def __init__(
        self, devices: Sequence[Device], settings: Settings, metrics: Metrics, *, runtimes: Mapping[str, RuntimeBuilder]
    ) -> None:
        self.devices = tuple(devices)
        self._settings = settings
        self._metrics = metrics
        self._runtimes = runtimes
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="loader", initializer=_give_way)

    async def load(
        self, candidate: Candidate, *, known: Sequence[WarmUp] = (), shapes: Sequence[Shape] = ()
    ) -> Segmenter:
        """Give the model of a checkpoint, ready to answer on every device that works.

        Args:
            candidate: the file.
            known: what was measured when this very checkpoint was loaded before; it is not measured again.
            shapes: shapes of network input that are usual; of none, the model's own are taken.

        Raises:
            BadCheckpoint: The file is not what it says.
            OutOfMemory: A device has no room for the model, not even for one image.
            DeviceFailed: No device works.
            ModelNotReady: The file holds another model now.
        """
        checkpoint = await asyncio.get_running_loop().run_in_executor(self._thread, _read, candidate, bool(known))
        found = f"{checkpoint.header.name}@{checkpoint.header.version}"
        if found != candidate.key:
            raise ModelNotReady(f"the file of model {candidate.key} holds {found} now")
        devices = [device for device in self.devices if not device.is_broken]
        if not devices:
            raise DeviceFailed("no device works any more")
        measured = list(known) if len(known) == len(devices) else [None] * len(devices)
        replicas, warm_ups, notes = [], [], []
        for device, before in zip(devices, measured, strict=True):
            own = checkpoint if device is devices[-1] else await self._copy(checkpoint)
            choice = await asyncio.get_running_loop().run_in_executor(
                self._thread, choose, self._settings, candidate.path, checkpoint.header.sha256, device.device
            )
            replica, warm = await self._start(own, device, before, shapes[:_MOST_WARM_SHAPES], choice.settings)
            replicas.append(replica)
            warm_ups.append(warm)
            notes.append(choice.note)
        return self._assemble(checkpoint, replicas, warm_ups, notes[0])

    def close(self) -> None:
        """Wait for the thread to end."""
        self._thread.shutdown(wait=True, cancel_futures=True)

    async def _copy(self, checkpoint: Checkpoint) -> Checkpoint:
        network = await asyncio.get_running_loop().run_in_executor(self._thread, deepcopy, checkpoint.network)
        return replace(checkpoint, network=network)

    async def _start(
        self, checkpoint: Checkpoint, device: Device, known: WarmUp | None, shapes: Sequence[Shape], settings: Settings
    ) -> tuple[Replica, WarmUp]:
        most = settings.max_batch_size
        async with device.turn:  # or images would wait behind the building, which another device could answer
            runtime = await device.run(self._runtimes[settings.runtime], checkpoint, device.device, settings)
        spec = checkpoint.header.spec
        warm = await warm_up(runtime, device, spec, max_batch_size=most, shapes=shapes, known=known)
        return Replica(runtime, device, BatchLimits(most, warm.batch_sizes), settings.runtime), warm

    def _assemble(
        self, checkpoint: Checkpoint, replicas: Sequence[Replica], warm_ups: Sequence[WarmUp], tuning_note: str | None
    ) -> Segmenter:
        settings, name = self._settings, checkpoint.header.name
        out_of_memory = self._metrics.out_of_memory.labels(name)
        return Segmenter(
            header=checkpoint.header,
            batcher=Batcher(
                replicas,
                BatchRules(settings.max_batch_delay, settings.bulk_delay),
                BatchEvents(self._batch_counter(name), out_of_memory.inc, self._metrics.waiting.labels(name).set),
            ),
            footprint=Footprint(
                max(replica.runtime.weights_bytes for replica in replicas), max(warm.peak_bytes for warm in warm_ups)
            ),
            warm_ups=warm_ups,
            tuning_note=tuning_note,
        )

    def _batch_counter(self, name: str) -> Callable[[int], None]:
        def count(size: int) -> None:
            self._metrics.batch_size.labels(name).observe(size)
            self._metrics.forwarded.labels(name).inc(size)

        return count


def _read(candidate: Candidate, is_known: bool) -> Checkpoint:
    """Read a checkpoint; one that has passed its self-test here, and is still the same, need not pass it again."""
    if is_known and candidate.inspection is not None:
        checkpoint = load(candidate.path)
        if checkpoint.header.sha256 == candidate.inspection.header.sha256:
            return checkpoint
    return verify(candidate.path)


def _give_way() -> None:
    torch.set_num_threads(1)
    with suppress(OSError, AttributeError):  # where the system does not let a single thread give way
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)
