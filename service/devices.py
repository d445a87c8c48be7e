"""Pick devices and give each its one thread: nothing else may touch a device."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import ParamSpec, TypeVar

import torch

from service.errors import OutOfMemory
from service.settings import BadSetting

P = ParamSpec("P")
R = TypeVar("R")

_CPU_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def pick_device(name: str) -> torch.device:
    """Give the device of that name; ``auto`` is the first GPU, or else the CPU.

    Raises:
        BadSetting: The machine has no such device.
    """
    if name == "auto":
        return torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise BadSetting(f"bad setting device={name}: this machine has {torch.cuda.device_count()} usable GPUs")
    return torch.device("cuda:0") if name == "cuda" else device


def available_cpus() -> int:
    """Count the CPUs that this process may use: torch counts the machine's and then fights over a container's."""
    cpus = len(os.sched_getaffinity(0))
    try:
        quota, period = _CPU_QUOTA.read_text().split()
    except (OSError, ValueError):
        return cpus
    return cpus if quota == "max" else max(1, min(cpus, int(quota) // int(period)))


class Device:
    """Run work on a device from its own single thread.

    Whoever holds ``turn`` is the next to run: what is in a batch is decided with it in hand, so that nothing waits
    behind the device in a shape that can no longer change.
    """

    def __init__(self, device: torch.device, *, num_threads: int | None = None) -> None:
        self.device = device
        self.turn = asyncio.Lock()
        self._thread = ThreadPoolExecutor(
            1,
            thread_name_prefix=f"device-{device}",
            initializer=torch.set_num_threads,  # OpenMP keeps this number per calling thread
            initargs=(num_threads or available_cpus(),),
        )

    async def run(self, work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run ``work`` in the device's thread.

        Raises:
            OutOfMemory: The device had not enough memory; its cache has been given back.
        """
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._thread, partial(work, *args, **kwargs))
        except (MemoryError, RuntimeError) as error:
            if not _is_out_of_memory(error):
                raise
            if self.device.type == "cuda":
                await loop.run_in_executor(self._thread, torch.cuda.empty_cache)
            raise OutOfMemory("the device has not enough memory for this image now") from error

    def close(self) -> None:
        """Wait for the thread to end."""
        self._thread.shutdown(wait=True, cancel_futures=True)


def _is_out_of_memory(error: Exception) -> bool:
    """Tell whether memory was what lacked; for a CPU's, torch has no error of its own."""
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "DefaultCPUAllocator" in str(error)
