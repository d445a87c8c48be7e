"""Hold the layers that several architectures share.

Letters: B batch, F features, H and W height and width.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from model_zoo.spec import Prediction

Width = Annotated[int, Field(ge=8, le=512)]
Rate = Annotated[float, Field(ge=0, lt=1)]
PoolNorm = Literal["layer", "batch"]


def conv_norm(in_channels: int, out_channels: int, *, kernel: int = 1, dilation: int = 1) -> nn.Sequential:
    """Build a convolution that keeps the size, with batch norm and ReLU."""
    padding = dilation * (kernel // 2)
    convolution = nn.Conv2d(in_channels, out_channels, kernel, padding=padding, dilation=dilation, bias=False)
    return nn.Sequential(he_initialised(convolution), nn.BatchNorm2d(out_channels), nn.ReLU(inplace=True))


def he_initialised(convolution: nn.Conv2d) -> nn.Conv2d:
    """Draw the weights so that ReLU keeps the variance (He et al. 2015, https://arxiv.org/abs/1502.01852)."""
    nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
    if convolution.bias is not None:
        nn.init.zeros_(convolution.bias)
    return convolution


class ImagePool(nn.Sequential):
    """Give every place what the whole image shows: its mean, through a convolution, a norm and ReLU.

    Each image is one pixel here. ``batch`` normalises over the images, and cannot learn from one alone; ``layer``
    normalises each image by itself, and can. ``first`` is the number of the convolution in the names of the weights.
    """

    def __init__(self, convolution: nn.Conv2d, norm: PoolNorm, *, first: int = 0) -> None:
        channels = convolution.out_channels
        normalisation = nn.BatchNorm2d(channels) if norm == "batch" else nn.GroupNorm(1, channels)
        layers = (convolution, normalisation, nn.ReLU(inplace=True))
        super().__init__(OrderedDict((str(place), layer) for place, layer in enumerate(layers, first)))

    def forward(self, features: Tensor) -> Tensor:
        """Map ``[B, F, H, W]`` to ``[B, F', H, W]``, the same at every place.

        Raises:
            ValueError: batch norm shall learn from one pixel.
        """
        norm = self[1]
        if isinstance(norm, nn.BatchNorm2d) and norm.training and len(features) == 1:
            raise ValueError(
                "pool_norm='batch' cannot learn from a batch of one image; more images, freeze_norms or "
                "pool_norm='layer' would do"
            )
        whole = features.mean(dim=(2, 3), keepdim=True)
        for layer in self:
            whole = layer(whole)  # [B, F', 1, 1]
        return whole.expand(-1, -1, *features.shape[-2:])


def upsampled(maps: Tensor, *, like: Tensor, align_corners: bool = False) -> Tensor:
    """Bring ``[B, F, h, w]`` to the height and width of other maps or images ``[B, F', H, W]``, bilinearly."""
    return F.interpolate(maps, size=like.shape[-2:], mode="bilinear", align_corners=align_corners)


def coarse_prediction(scores: Tensor, *, like: Tensor, align_corners: bool = False) -> Prediction:
    """Say that scores ``[B, C, h, w]`` are to be brought to the height and width of the images they were made of."""
    height, width = like.shape[-2:]
    return Prediction(scores, size=(height, width), align_corners=align_corners)


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
