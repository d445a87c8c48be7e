import platform
import resource
import subprocess
import sys

import pytest

from model_zoo.allocator import keep_freed_memory

ON_GLIBC = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="speaks to glibc")
PAGES_OF_A_TENSOR = 2**26 // resource.getpagesize()
FAULTS = """
import resource, sys, threading
import torch
from model_zoo.allocator import SERVED_BYTES, give_back_freed_memory, keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        torch.empty(2**24).fill_(1)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def repeat():
    for _ in range(3):
        found = faults()
    if sys.argv[1] == "give back":
        give_back_freed_memory()
        found = faults()
    print(found)

if sys.argv[1] != "leave":
    assert keep_freed_memory(*([SERVED_BYTES] if sys.argv[1] == "keep some" else []))
thread = threading.Thread(target=repeat)
thread.start()
thread.join()
"""
"""Take and free 64 MB again and again in a thread, and print how many pages the kernel gave for the last five."""


def count_faults(word: str) -> int:
    done = subprocess.run([sys.executable, "-c", FAULTS, word], capture_output=True, text=True, timeout=120, check=True)  # noqa: S603  # fixed words
    return int(done.stdout)


@ON_GLIBC
@pytest.mark.parametrize("word", ["keep", "keep some"])
def test_memory_that_was_freed_is_taken_again_without_the_kernel(word: str) -> None:
    assert count_faults(word) < PAGES_OF_A_TENSOR / 10


@ON_GLIBC
@pytest.mark.parametrize("word", ["leave", "give back"])
def test_the_kernel_is_asked_where_nothing_is_kept(word: str) -> None:
    assert count_faults(word) >= PAGES_OF_A_TENSOR


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))

    assert not keep_freed_memory()
