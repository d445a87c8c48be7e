"""Measure how much memory a piece of work takes at most."""

from __future__ import annotations

from collections.abc import Callable
from itertools import accumulate, chain
from resource import RUSAGE_SELF, getrusage
from typing import TypeVar

import torch

try:
    from torch._C._autograd import _disable_profiler_legacy, _enable_profiler_legacy
    from torch._C._profiler import ProfilerConfig, ProfilerState, _ExperimentalConfig
except ImportError:  # torch promises none of these names
    HAS_PROFILER = False
else:
    HAS_PROFILER = True

R = TypeVar("R")


def measured_peak(device: torch.device, work: Callable[[], R]) -> tuple[R, int]:
    """Run ``work`` in this thread; give its result, and the most bytes of the device that it held at once.

    What was there before does not count, and on a CPU neither does what other threads allocate meanwhile. Seen is
    what goes through torch's allocators, copies and buffers inside an operation included. Not seen are what libraries
    fetch from the system themselves, and what an allocator keeps but does not use; on a GPU that is also the context
    and the code of the kernels.
    """
    if device.type == "cuda":
        return _peak_of_gpu(device, work)
    return _peak_of_cpu(work) if HAS_PROFILER else _peak_of_process(work)


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


def _peak_of_process(work: Callable[[], R]) -> tuple[R, int]:
    """Give by how much the process grew, other threads and what the allocator keeps included; for want of better."""
    before = getrusage(RUSAGE_SELF).ru_maxrss
    result = work()
    return result, 1024 * (getrusage(RUSAGE_SELF).ru_maxrss - before)


def _memory_only() -> ProfilerConfig:
    shapes, memory, stack, flops, modules = False, True, False, False, False
    return ProfilerConfig(ProfilerState.CPU, shapes, memory, stack, flops, modules, _ExperimentalConfig())
