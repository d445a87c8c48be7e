"""Build a U-Net whose way down is a pretrained encoder.

Ronneberger, Fischer, Brox 2015, "U-Net: Convolutional Networks for Biomedical Image Segmentation",
https://arxiv.org/abs/1505.04597, with the five-step decoder that is usual for classification encoders.

Letters: B batch, C classes, F features, H and W height and width.
"""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field, StringConstraints
from torch import Tensor, nn
from torch.nn import functional as F

from model_zoo.architectures.layers import conv_norm, he_initialised
from model_zoo.backbones import DEPTH, EncoderName, build_encoder
from model_zoo.spec import Prediction

Widths = Annotated[str, StringConstraints(pattern=r"^((1024|[1-9][0-9]{0,2})-){2,4}(1024|[1-9][0-9]{0,2})$")]


class EncoderUNet(nn.Module):
    """Double the resolution step by step, with the encoder's features of that level beside.

    ``base_channels`` is the width at full resolution; it doubles with every level below. ``widths``, such as
    ``256-128-64-32-16``, says each width in its place, the coarsest first; where it names fewer than five, the encoder
    is that much shallower. ``center`` puts two more convolutions on the coarsest map. ``late_maps`` is that of
    ``build_encoder``. With ``freeze_encoder`` the encoder learns nothing, its batch-norm statistics included.
    """

    def __init__(  # noqa: PLR0913  # each is a word of the checkpoint's spec
        self,
        num_classes: int,
        *,
        encoder: EncoderName = "mobilenet_v2",
        base_channels: Annotated[int, Field(ge=4, le=64)] = 16,
        widths: Widths | None = None,
        center: bool = False,
        late_maps: bool = False,
        freeze_encoder: bool = False,
    ) -> None:
        super().__init__()
        steps = [base_channels * 2**level for level in reversed(range(DEPTH))]
        if widths is not None:
            steps = [int(width) for width in widths.split("-")]
        self.encoder = build_encoder(encoder, late_maps=late_maps, depth=len(steps))
        if freeze_encoder:
            self.encoder.freeze()
        *skips, channels = self.encoder.channels
        self.center = _two_convolutions(channels, channels) if center else nn.Identity()
        self.merges = nn.ModuleList()
        for width, skip in zip(steps, [*reversed(skips), 0], strict=True):
            self.merges.append(_two_convolutions(channels + skip, width))
            channels = width
        self.score = he_initialised(nn.Conv2d(channels, num_classes, 3, padding=1))

    def forward(self, images: Tensor) -> Prediction:
        """Map images ``[B, 3, H, W]`` to logits ``[B, C, H, W]``."""
        *skips, x = self.encoder(images)
        x = self.center(x)
        *merges, last = self.merges
        for merge, skip in zip(merges, reversed(skips), strict=True):
            x = F.interpolate(x, size=skip.shape[-2:], mode="nearest")
            x = merge(torch.cat([x, skip], dim=1))
        x = last(F.interpolate(x, size=images.shape[-2:], mode="nearest"))  # [B, F, H, W]
        return Prediction(self.score(x))


def _two_convolutions(in_channels: int, channels: int) -> nn.Sequential:
    return nn.Sequential(conv_norm(in_channels, channels, kernel=3), conv_norm(channels, channels, kernel=3))
