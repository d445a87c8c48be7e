"""Pick devices and give each its one thread: nothing else may touch a device."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from traceback import clear_frames
from typing import Any, ParamSpec, TypeVar

import torch

from service.errors import DeviceFailed, OutOfMemory
from service.settings import BadSetting

log = logging.getLogger(__name__)

P = ParamSpec("P")
R = TypeVar("R")

_CGROUP = Path("/sys/fs/cgroup")


def pick_devices(names: str) -> list[torch.device]:
    """Give the devices of a list of names; ``auto`` is every GPU, or else the CPU, and ``cuda`` every GPU.

    Raises:
        BadSetting: The machine has no such device, or one is named twice.
    """
    num_gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    gpus = [f"cuda:{index}" for index in range(num_gpus)]
    if names == "auto":
        return [torch.device(name) for name in gpus or ["cpu"]]
    wanted = gpus if names == "cuda" and gpus else names.split(",")
    for name in wanted:
        if name.startswith("cuda") and name not in gpus:
            raise BadSetting(f"bad setting device={name}: this machine has {num_gpus} usable GPUs")
        if wanted.count(name) > 1:
            raise BadSetting(f"bad setting device={names}: {name} is named twice")
    return [torch.device(name) for name in wanted]


def available_cpus() -> int:
    """Count the CPUs that this process may use: torch counts the machine's and then fights over a container's."""
    cpus = len(os.sched_getaffinity(0))
    quota = cpu_quota(_CGROUP)
    return cpus if quota is None else max(1, min(cpus, int(quota)))


def cpu_quota(cgroup: Path) -> float | None:
    """Give how many CPUs a control group grants, of version 2 or 1; nothing where it bounds none."""
    newer, older = [cgroup / "cpu.max"], [cgroup / "cpu/cpu.cfs_quota_us", cgroup / "cpu/cpu.cfs_period_us"]
    for files in (newer, older):
        try:
            quota, period = " ".join(file.read_text() for file in files).split()
            return int(quota) / int(period) if int(quota) > 0 else None
        except (OSError, ValueError):  # not there, or "max"
            continue
    return None


class Device:
    """Run work on a device from its own single thread.

    Whoever holds ``turn`` is the next to run: what is in a batch is decided with it in hand, so that nothing waits
    behind the device in a shape that can no longer change.
    """

    def __init__(self, device: torch.device, *, num_threads: int | None = None, stall_timeout: float = 120.0) -> None:
        self.device = device
        self.turn = asyncio.Lock()
        self._num_threads = num_threads or available_cpus()
        self._stall_timeout = stall_timeout
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._open_jobs: set[_Job] = set()
        self._thread: Thread | None = None
        self._busy_since: float | None = None
        self._broken: str | None = None

    @property
    def name(self) -> str:
        """Give the device's name, such as ``cuda:0``."""
        return str(self.device)

    @property
    def is_broken(self) -> bool:
        """Whether the device will never work again in this process."""
        return self._broken is not None

    @property
    def problem(self) -> str | None:
        """Say why nothing should be sent to the device now: it is broken, or stuck in one piece of work."""
        since = self._busy_since
        if self._broken is not None:
            return self._broken
        if since is not None and time.monotonic() - since > self._stall_timeout:
            return f"one piece of work takes longer than {self._stall_timeout:g} s"
        return None

    async def run(self, work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run ``work`` in the device's thread.

        Raises:
            OutOfMemory: The device had not enough memory; its cache has been given back.
            DeviceFailed: The device is broken, from this work or from before.
        """
        try:
            return await self._submit(partial(work, *args, **kwargs))
        except DeviceFailed:
            raise
        except Exception as error:
            if is_out_of_memory(error):
                await self.free_cache()
                raise OutOfMemory("the device has not enough memory for this image now") from error
            await self._check_still_works(error)
            raise

    async def free_cache(self) -> None:
        """Give memory that nothing uses back to whoever else is on the device."""
        if self.device.type != "cuda" or self.is_broken:
            return
        try:
            await self._submit(torch.cuda.empty_cache)
        except Exception as error:  # whoever runs the next work hears of it
            await self._check_still_works(error)

    def close(self, *, patience: float = 10.0) -> None:
        """Wait for the thread to end; one that is stuck is left behind, and ends with the process."""
        self._broken = self._broken or "the device is closed"
        if self._thread is not None:
            self._jobs.put(None)
            self._thread.join(patience)

    async def _submit(self, work: Callable[[], R]) -> R:
        if self._thread is None:
            self._thread = Thread(target=self._serve, name=f"device-{self.name}", daemon=True)
            self._thread.start()
        job = _Job(work)
        self._open_jobs.add(job)  # the thread may die with a job in its hands
        self._jobs.put(job)
        if self._broken is not None:  # the thread may have ended already, and nobody would hear of this job
            self._refuse_jobs(self._broken)
        try:
            result: R = await asyncio.wrap_future(job.answer)
            return result
        finally:
            self._open_jobs.discard(job)
            del job, work  # or an error would hold this frame, and this frame the error

    async def _check_still_works(self, error: Exception) -> None:
        """Find out whether a failure was the work's own: some errors of a GPU stay until the process ends."""
        if self.device.type != "cuda":
            return
        try:
            await self._submit(partial(_touch, self.device))
        except Exception as proof:
            if is_out_of_memory(proof):
                return
            self._broken = "an error on the GPU that stays until the process ends"
            raise DeviceFailed(f"device {self.name} is broken: {self._broken}") from error

    def _serve(self) -> None:
        """Do jobs until told to stop; whatever ends this thread otherwise breaks the device."""
        torch.set_num_threads(self._num_threads)  # OpenMP keeps this number per calling thread
        reason = "the device's thread has died"
        try:
            while (job := self._jobs.get()) is not None:
                self._busy_since = time.monotonic()
                job.do()
                self._busy_since = None
                del job  # or its images and result would stay in memory until the next
            reason = "the device is closed"
        except BaseException:  # /healthz, all callers and the log hear of it
            log.critical("device thread died", exc_info=True, extra={"device": self.name})
        finally:
            self._busy_since = None
            self._broken = self._broken or reason
            self._refuse_jobs(self._broken)

    def _refuse_jobs(self, reason: str) -> None:
        for job in list(self._open_jobs):
            job.fail(DeviceFailed(f"device {self.name} is broken: {reason}"))


class _Job:
    def __init__(self, work: Callable[[], Any]) -> None:
        self._work = work
        self.answer: Future[Any] = Future()

    def do(self) -> None:
        if not self.answer.set_running_or_notify_cancel():
            return
        try:
            result = self._work()
        except Exception as error:  # whoever awaits the answer hears of it
            clear_frames(error.__traceback__)  # they hold what the work had allocated
            self.fail(error)
        else:  # what is no Exception ends the thread, which then answers all jobs
            with suppress(InvalidStateError):  # it was refused meanwhile
                self.answer.set_result(result)

    def fail(self, error: Exception) -> None:
        with suppress(InvalidStateError):  # it is answered, or nobody waits any more
            self.answer.set_exception(error)


def is_out_of_memory(error: Exception) -> bool:
    """Tell whether memory was what lacked; libraries say it in words of their own."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    words = ("out of memory", "DefaultCPUAllocator", "ALLOC_FAILED")
    return isinstance(error, RuntimeError) and any(word in str(error) for word in words)


def _touch(device: torch.device) -> None:
    torch.ones(1, device=device).add_(1)
    torch.cuda.synchronize(device)


def threads_for(devices: Sequence[torch.device], *, wanted: int | None) -> int:
    """Give the number of threads of one pass: what was asked for, or a fair share of the CPUs."""
    num_cpu_devices = sum(device.type == "cpu" for device in devices)
    return wanted or max(1, available_cpus() // max(1, num_cpu_devices))
