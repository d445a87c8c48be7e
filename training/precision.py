"""Choose whether results must repeat to the bit."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def determinism(*, is_wanted: bool) -> Iterator[None]:
    """Let torch use only operations that give the same bits every time, if that is wanted.

    On CPUs all that networks here need does so anyway. On GPUs it is slower, and torch raises RuntimeError where an
    operation has no such form, or where CUBLAS_WORKSPACE_CONFIG is not set as it then says.
    """
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(is_wanted or before)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)
