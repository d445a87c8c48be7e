"""Time the backward pass of depthwise convolutions in bfloat16, in float32 and undilated, in turn, on the CPU.

Run: ``python -m benchmarks.depthwise``. The shapes are those of DeepLabV3+ on EfficientNet-Lite0, batch 8, crop 288,
and of the pyramid on -Lite2 at crop 384. Prints milliseconds (median of the rounds, with minimum and maximum) and how
many times longer than in float32 the others take, by medians. Undilated is float32, too (``training/depthwise.py``).
"""

from __future__ import annotations

import platform
import time
from statistics import median
from typing import NamedTuple

import torch
from torch import nn

from training.depthwise import undilate_depthwise

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
    *(Layer(352, 24, kernel=3, dilation=dilation, stride=1) for dilation in (6, 12, 18)),
]
FORMS = ("float32", "bfloat16", "undilated")


def main() -> None:
    """Print one line a layer."""
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {platform.processor() or platform.machine()}")
    print(f"{'layer':>28}  " + "  ".join(f"{form + ' ms':>24}" for form in FORMS) + "  ratios")
    for layer in LAYERS:
        times: dict[str, list[float]] = {form: [] for form in FORMS}
        for _ in range(ROUNDS):
            for form, found in times.items():
                found.append(1000 * backward_seconds(layer, form))
        name = "{0} ch {1}x{1} k{2} d{3} s{4}".format(*layer)
        columns = (f"{median(found):.1f} ({min(found):.1f} to {max(found):.1f})" for found in times.values())
        ratios = (f"{median(times[form]) / median(times[FORMS[0]]):.2f}" for form in FORMS[1:])
        print(f"{name:>28}  " + "  ".join(f"{column:>24}" for column in columns) + "  " + "  ".join(ratios))


def backward_seconds(shape: Layer, form: str) -> float:
    """Time one backward pass of a batch of 8 in channels_last."""
    channels, side, kernel, dilation, stride = shape
    dtype = torch.bfloat16 if form == "bfloat16" else torch.float32
    padding = dilation * (kernel // 2)
    layer = nn.Conv2d(channels, channels, kernel, stride, padding, dilation, groups=channels, bias=False, dtype=dtype)
    if form == "undilated":
        undilate_depthwise(layer)
    images = torch.randn(8, channels, side, side, dtype=dtype).contiguous(memory_format=torch.channels_last)
    output = layer.to(memory_format=torch.channels_last)(images.requires_grad_())
    gradient = torch.randn_like(output)
    start = time.perf_counter()
    output.backward(gradient)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
