"""Give depthwise convolutions a form whose backward pass CPUs are fast at; the numbers stay what they are.

Letters: B batch, F features, H and W height and width, d dilation.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model_zoo.efficientnet_lite import SameConv2d


class _Forward(Protocol):
    def __call__(self, x: Tensor, /) -> Tensor: ...


def keep_depthwise_float32(network: nn.Module) -> None:
    """Take depthwise convolutions out of bfloat16 autocast on CPUs.

    Their backward pass in bfloat16 is 2 to 6 times slower there than in float32 (``benchmarks/depthwise.py``), and
    they do so little arithmetic that lower precision has nothing to give.
    """
    for convolution in _depthwise(network):
        convolution.forward = partial(_in_float32, convolution.forward)  # type: ignore[method-assign]  # of this one


def undilate_depthwise(network: nn.Module) -> None:
    """Compute dilated depthwise convolutions as plain ones of the ``d x d`` coarser grids that each of them sees.

    The backward pass of a dilated one is up to 10 times slower on CPUs (``benchmarks/depthwise.py``). Only those that
    keep the size of a map are changed.
    """
    for convolution in _depthwise(network):
        if convolution.dilation != (1, 1) and _keeps_size(convolution):
            convolution.forward = partial(_undilated, convolution)  # type: ignore[method-assign]  # of this one


def _depthwise(network: nn.Module) -> Iterator[nn.Conv2d]:
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and module.groups == module.in_channels == module.out_channels > 1:
            yield module


def _keeps_size(convolution: nn.Conv2d) -> bool:
    if convolution.stride != (1, 1) or convolution.kernel_size[0] % 2 == 0:
        return False
    same = tuple(d * (k // 2) for d, k in zip(convolution.dilation, convolution.kernel_size, strict=True))
    return isinstance(convolution, SameConv2d) or convolution.padding == same


def _in_float32(forward: _Forward, x: Tensor) -> Tensor:
    with torch.autocast(x.device.type, enabled=False):
        return forward(x.float())


def _undilated(convolution: nn.Conv2d, x: Tensor) -> Tensor:
    """Map ``[B, F, H, W]`` to ``[B, F, H, W]``, through ``[B*d*d, F, ceil(H/d), ceil(W/d)]``."""
    (dy, dx), (ky, kx) = convolution.dilation, convolution.kernel_size
    images, channels, height, width = x.shape
    rows, columns = -(-height // dy), -(-width // dx)
    # Channels last throughout: then the grids are copied in whole pixels
    padded = F.pad(x.permute(0, 2, 3, 1), (0, 0, 0, columns * dx - width, 0, rows * dy - height))
    grids = padded.reshape(images, rows, dy, columns, dx, channels).permute(0, 2, 4, 1, 3, 5)
    grids = grids.reshape(images * dy * dx, rows, columns, channels).permute(0, 3, 1, 2)
    found = F.conv2d(grids, convolution.weight, convolution.bias, padding=(ky // 2, kx // 2), groups=channels)
    found = found.permute(0, 2, 3, 1).reshape(images, dy, dx, rows, columns, channels).permute(0, 3, 1, 4, 2, 5)
    return found.reshape(images, rows * dy, columns * dx, channels)[:, :height, :width].permute(0, 3, 1, 2)
