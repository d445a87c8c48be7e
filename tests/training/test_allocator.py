import platform
import resource
import subprocess
import sys

import pytest

from training.allocator import keep_freed_memory

FAULTS = """
import resource, sys
import torch
from training.allocator import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        torch.empty(2**24).fill_(1)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

if sys.argv[1] == "keep":
    assert keep_freed_memory()
for _ in range(3):
    found = faults()
print(found)
"""
"""Take and free 64 MB again and again, and print how many pages the kernel had to give for the last five."""


def count_faults(word: str) -> int:
    done = subprocess.run([sys.executable, "-c", FAULTS, word], capture_output=True, text=True, timeout=120, check=True)  # noqa: S603  # fixed words
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="speaks to glibc")
def test_memory_that_was_freed_is_taken_again_without_the_kernel() -> None:
    pages_of_a_tensor = 2**26 // resource.getpagesize()

    assert count_faults("keep") < pages_of_a_tensor / 10
    assert count_faults("leave") >= pages_of_a_tensor


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))

    assert not keep_freed_memory()
