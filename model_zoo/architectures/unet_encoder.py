"""Build a U-Net whose way down is a pretrained encoder.

Ronneberger, Fischer, Brox 2015, "U-Net: Convolutional Networks for Biomedical Image Segmentation",
https://arxiv.org/abs/1505.04597, with the five-step decoder that is usual for classification encoders.

Letters: B batch, C classes, F features, H and W height and width.
"""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from model_zoo.architectures.layers import conv_norm, he_initialised
from model_zoo.backbones import EncoderName, build_encoder
from model_zoo.spec import Prediction


class EncoderUNet(nn.Module):
    """Double the resolution five times, with the encoder's features of that level beside.

    ``base_channels`` is the width at full resolution; it doubles with every level below. With ``freeze_encoder``
    the encoder learns nothing, its batch-norm statistics included.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        encoder: EncoderName = "mobilenet_v2",
        base_channels: Annotated[int, Field(ge=4, le=64)] = 16,
        freeze_encoder: bool = False,
    ) -> None:
        super().__init__()
        self.encoder = build_encoder(encoder)
        if freeze_encoder:
            self.encoder.freeze()
        *skips, channels = self.encoder.channels
        self.merges = nn.ModuleList()
        for level, skip in reversed(list(enumerate([0, *skips]))):
            width = base_channels * 2**level
            self.merges.append(
                nn.Sequential(conv_norm(channels + skip, width, kernel=3), conv_norm(width, width, kernel=3))
            )
            channels = width
        self.score = he_initialised(nn.Conv2d(channels, num_classes, 3, padding=1))

    def forward(self, images: Tensor) -> Prediction:
        """Map images ``[B, 3, H, W]`` to logits ``[B, C, H, W]``."""
        *skips, x = self.encoder(images)
        *merges, last = self.merges
        for merge, skip in zip(merges, reversed(skips), strict=True):
            x = F.interpolate(x, size=skip.shape[-2:], mode="nearest")
            x = merge(torch.cat([x, skip], dim=1))
        x = last(F.interpolate(x, size=images.shape[-2:], mode="nearest"))  # [B, F, H, W]
        return Prediction(self.score(x))
