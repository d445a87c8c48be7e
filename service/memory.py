"""Measure how much memory a piece of work takes at most."""

from __future__ import annotations

from collections.abc import Callable
from itertools import accumulate, chain
from typing import TypeVar

import torch
from torch._C._autograd import _disable_profiler_legacy, _enable_profiler_legacy
from torch._C._profiler import ProfilerConfig, ProfilerState, _ExperimentalConfig

R = TypeVar("R")


def measured_peak(device: torch.device, work: Callable[[], R]) -> tuple[R, int]:
    """Run ``work`` in this thread; give its result, and the most bytes of the device that it held at once.

    What was there before does not count, and on a CPU neither does what other threads allocate meanwhile. Seen is
    what goes through torch's allocators, copies and buffers inside an operation included. Not seen are what libraries
    fetch from the system themselves, and what an allocator keeps but does not use; on a GPU that is also the context
    and the code of the kernels.
    """
    return _peak_of_gpu(device, work) if device.type == "cuda" else _peak_of_cpu(work)


def _peak_of_gpu(device: torch.device, work: Callable[[], R]) -> tuple[R, int]:
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    result = work()
    return result, torch.cuda.max_memory_allocated(device) - before


def _peak_of_cpu(work: Callable[[], R]) -> tuple[R, int]:
    """Add up what a profiler of torch records of this thread's allocations; torch keeps no other count of them.

    The profilers that torch documents serve one thread of a process at a time, and write to its standard error.
    """
    _enable_profiler_legacy(_memory_only())
    try:
        result = work()
    finally:
        threads = _disable_profiler_legacy()
    changes = (event.cpu_memory_usage() for event in chain.from_iterable(threads))
    return result, max(accumulate(changes, initial=0))


def _memory_only() -> ProfilerConfig:
    shapes, memory, stack, flops, modules = False, True, False, False, False
    return ProfilerConfig(ProfilerState.CPU, shapes, memory, stack, flops, modules, _ExperimentalConfig())
