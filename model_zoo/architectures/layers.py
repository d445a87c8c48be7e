"""Hold the layers that several architectures share.

Letters: B batch, F features, H and W height and width.
"""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

Width = Annotated[int, Field(ge=8, le=512)]
Rate = Annotated[float, Field(ge=0, lt=1)]


def conv_norm(in_channels: int, out_channels: int, *, kernel: int = 1) -> nn.Sequential:
    """Build a convolution that keeps the size, with batch norm and ReLU."""
    convolution = nn.Conv2d(in_channels, out_channels, kernel, padding=kernel // 2, bias=False)
    return nn.Sequential(he_initialised(convolution), nn.BatchNorm2d(out_channels), nn.ReLU(inplace=True))


def he_initialised(convolution: nn.Conv2d) -> nn.Conv2d:
    """Draw the weights so that ReLU keeps the variance (He et al. 2015, https://arxiv.org/abs/1502.01852)."""
    nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
    if convolution.bias is not None:
        nn.init.zeros_(convolution.bias)
    return convolution


def mirror_pad(images: Tensor, *, height: tuple[int, int], width: tuple[int, int]) -> Tensor:
    """Widen ``[B, F, H, W]`` by the borders of each axis, mirrored, or repeated where the image is too small."""
    if torch.onnx.is_in_onnx_export():
        rows, columns = _mirrored(images.shape[-2], *height), _mirrored(images.shape[-1], *width)
        return images.index_select(2, rows).index_select(3, columns)
    top_bottom, left_right = (0, 0, *height), (*width, 0, 0)
    for pad, size in ((top_bottom, images.shape[-2]), (left_right, images.shape[-1])):
        if any(pad):
            images = F.pad(images, pad, mode="reflect" if max(pad) < size else "replicate")
    return images


def _mirrored(size: int, before: int, after: int) -> Tensor:
    """Give which pixel of an axis stands at each place of the widened one.

    No branch depends on the size, which a traced graph learns only when it runs.
    """
    place = torch.arange(-before, size + after)
    mirrored = size - 1 - (size - 1 - place.abs()).abs()
    is_large = (place.min() > -size) & (place.max() < 2 * size - 1)
    return torch.where(is_large, mirrored, place.clamp(0, size - 1))
