"""Keep in float32 what lower precision would slow down."""

from __future__ import annotations

from functools import partial
from typing import Protocol

import torch
from torch import Tensor, nn


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
