"""Time the backward pass of depthwise convolutions in bfloat16 and in float32, one after the other, on the CPU.

Run: ``python benchmarks/depthwise.py``. The shapes are those of DeepLabV3+ on EfficientNet-Lite0, batch 8, crop 288.
Prints milliseconds (median of the rounds, with minimum and maximum) and the ratio of the medians.
"""

from __future__ import annotations

import platform
import time
from statistics import median
from typing import NamedTuple

import torch
from torch import nn

ROUNDS = 9


class Layer(NamedTuple):
    """Describe a depthwise convolution; ``side`` is that of its square input."""

    channels: int
    side: int
    kernel: int
    dilation: int
    stride: int


LAYERS = [
    Layer(1152, 18, kernel=5, dilation=2, stride=1),
    Layer(672, 18, kernel=5, dilation=1, stride=1),
    Layer(144, 75, kernel=5, dilation=1, stride=2),
    Layer(96, 145, kernel=3, dilation=1, stride=2),
    Layer(1152, 18, kernel=3, dilation=2, stride=1),
]


def main() -> None:
    """Print one line a layer."""
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {platform.processor() or platform.machine()}")
    print(f"{'layer':>28}  {'bfloat16 ms':>22}  {'float32 ms':>22}  ratio")
    for layer in LAYERS:
        times: dict[torch.dtype, list[float]] = {torch.bfloat16: [], torch.float32: []}
        for _ in range(ROUNDS):
            for dtype, found in times.items():
                found.append(1000 * backward_seconds(layer, dtype))
        half, full = ([median(t), min(t), max(t)] for t in times.values())
        name = "{0} ch {1}x{1} k{2} d{3} s{4}".format(*layer)
        columns = ("{:.1f} ({:.1f} to {:.1f})".format(*found) for found in (half, full))
        print(f"{name:>28}  " + "  ".join(f"{column:>22}" for column in columns) + f"  {half[0] / full[0]:.1f}")


def backward_seconds(shape: Layer, dtype: torch.dtype) -> float:
    """Time one backward pass of a batch of 8 in channels_last."""
    channels, side, kernel, dilation, stride = shape
    padding = dilation * (kernel // 2)
    layer = nn.Conv2d(channels, channels, kernel, stride, padding, dilation, groups=channels, bias=False, dtype=dtype)
    images = torch.randn(8, channels, side, side, dtype=dtype).contiguous(memory_format=torch.channels_last)
    output = layer.to(memory_format=torch.channels_last)(images.requires_grad_())
    gradient = torch.randn_like(output)
    start = time.perf_counter()
    output.backward(gradient)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
