"""Choose how numbers are computed: what stays in float32, and whether results must repeat to the bit."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Protocol

import torch
from torch import Tensor, nn


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


class _Forward(Protocol):
    def __call__(self, x: Tensor, /) -> Tensor: ...


def keep_depthwise_float32(network: nn.Module) -> None:
    """Take depthwise convolutions out of bfloat16 autocast on CPUs.

    Their backward pass in bfloat16 is 2 to 6 times slower there than in float32 (``benchmarks/depthwise.py``), and
    they do so little arithmetic that lower precision has nothing to give.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and module.groups == module.in_channels > 1:
            module.forward = partial(_in_float32, module.forward)  # type: ignore[method-assign]  # of this instance


def _in_float32(forward: _Forward, x: Tensor) -> Tensor:
    with torch.autocast(x.device.type, enabled=False):
        return forward(x.float())
