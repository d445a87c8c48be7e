"""Build U-Net, to be trained from scratch.

Ronneberger, Fischer, Brox 2015, "U-Net: Convolutional Networks for Biomedical Image Segmentation",
https://arxiv.org/abs/1505.04597.

Letters: B batch, C classes, F features, H and W height and width.
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from model_zoo.architectures.layers import Rate, he_initialised, mirror_pad
from model_zoo.norms import Norm, group_norm
from model_zoo.spec import Prediction

DEPTH = 4
MULTIPLE = 2**DEPTH
VALID_BORDER = 92
"""The pixels that unpadded convolutions lose on each side: 572 become 388."""


class UNet(nn.Module):
    """Go down four times and up again, and bring the features of each level across.

    ``padding="valid"`` is the paper's network (with ``norm="none"`` and ``in_channels=1``): its convolutions see
    only real pixels, so the image is mirrored at its border. ``"same"`` pads with zeros inside.
    """

    def __init__(  # noqa: PLR0913  # each is a word of the checkpoint's spec
        self,
        num_classes: int,
        *,
        in_channels: Annotated[int, Field(ge=1, le=16)] = 3,
        base_channels: Annotated[int, Field(ge=1, le=128)] = 64,
        padding: Literal["same", "valid"] = "same",
        norm: Norm = "batch",
        drop_rate: Rate = 0.0,
    ) -> None:
        super().__init__()
        self.padding = padding
        pad = 1 if padding == "same" else 0
        widths = [base_channels * 2**level for level in range(DEPTH + 1)]
        self.downs = nn.ModuleList(
            _double_conv(below, width, pad=pad, norm=norm)
            for below, width in zip([in_channels, *widths], widths, strict=False)
        )
        self.pool = nn.MaxPool2d(2)
        self.drop = nn.Dropout(drop_rate)
        self.ups = nn.ModuleList(nn.ConvTranspose2d(2 * width, width, 2, stride=2) for width in reversed(widths[:-1]))
        self.merges = nn.ModuleList(
            _double_conv(2 * width, width, pad=pad, norm=norm) for width in reversed(widths[:-1])
        )
        self.score = nn.Conv2d(base_channels, num_classes, 1)

    def forward(self, images: Tensor) -> Prediction:
        """Map images ``[B, in_channels, H, W]`` to logits ``[B, C, H, W]``."""
        height, width = images.shape[-2:]
        if self.padding == "same":
            padded = mirror_pad(images, height=(0, -height % MULTIPLE), width=(0, -width % MULTIPLE))
            logits = self._run(padded)
        else:
            below, right = VALID_BORDER + (4 - height) % MULTIPLE, VALID_BORDER + (4 - width) % MULTIPLE
            padded = mirror_pad(images, height=(VALID_BORDER, below), width=(VALID_BORDER, right))
            logits = self.valid_logits(padded)
        return Prediction(logits[..., :height, :width].contiguous())

    def valid_logits(self, images: Tensor) -> Tensor:
        """Map images ``[B, in_channels, H, W]`` to logits ``[B, C, H - 184, W - 184]``, without a mirrored border.

        Raises:
            ValueError: The network pads inside, or a size is not 12 more than a multiple of 16, or below 188.
        """
        if self.padding != "valid":
            raise ValueError("valid_logits needs a network with padding='valid'")
        for size in images.shape[-2:]:
            if size % MULTIPLE != 12 or size < 2 * VALID_BORDER + 4:
                raise ValueError(f"a side is {size} px, must be 188 or more and 12 more than a multiple of 16")
        return self._run(images)

    def _run(self, images: Tensor) -> Tensor:
        x = images
        skips = []
        for down in self.downs[:-1]:
            x = down(x)
            skips.append(x)
            x = self.pool(x)
        x = self.drop(self.downs[-1](x))  # [B, 16F, H/16, W/16]
        for up, merge, skip in zip(self.ups, self.merges, reversed(skips), strict=True):
            x = up(x)
            x = merge(torch.cat([_center_crop(skip, x), x], dim=1))
        logits: Tensor = self.score(x)
        return logits


def _center_crop(skip: Tensor, like: Tensor) -> Tensor:
    """Cut the middle out of ``[B, F, H, W]``, as large as another map."""
    height, width = like.shape[-2:]
    top, left = (skip.shape[-2] - height) // 2, (skip.shape[-1] - width) // 2
    return skip[..., top : top + height, left : left + width]


def _double_conv(in_channels: int, out_channels: int, *, pad: int, norm: Norm) -> nn.Sequential:
    layers: list[nn.Module] = []
    for channels in (in_channels, out_channels):
        layers.append(he_initialised(nn.Conv2d(channels, out_channels, 3, padding=pad, bias=norm == "none")))
        if norm == "batch":
            layers.append(nn.BatchNorm2d(out_channels))
        elif norm == "group":
            layers.append(group_norm(out_channels))
        layers.append(nn.ReLU(inplace=True))
    return nn.Sequential(*layers)
