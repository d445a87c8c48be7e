"""Build a feature pyramid network whose levels are each brought to a quarter of the resolution and merged.

Kirillov, Girshick, He, Dollár 2019, "Panoptic Feature Pyramid Networks", https://arxiv.org/abs/1901.02446; the pyramid
is that of Lin et al. 2017, "Feature Pyramid Networks for Object Detection", https://arxiv.org/abs/1612.03144.

Letters: B batch, C classes, F features, H and W height and width.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from model_zoo.architectures.layers import Rate, Width, coarse_prediction, he_initialised, upsampled
from model_zoo.backbones import EncoderName, build_encoder
from model_zoo.spec import Prediction

GROUPS = 32
DOUBLINGS = (3, 2, 1, 0)
"""How often each level of the pyramid, the coarsest first, is doubled up to a quarter of the resolution."""

LevelWidth = Annotated[int, Field(ge=2 * GROUPS, le=512, multiple_of=GROUPS)]
"""Two channels a group at the least: group norm cannot normalise the one value of a map of one pixel."""


class FPN(nn.Module):
    """Label pixels by what each level of a pyramid says of them, added or side by side (``merge``).

    ``late_maps`` is that of ``build_encoder``, ``align_corners`` that of all bilinear upsampling.
    """

    def __init__(  # noqa: PLR0913  # each is a word of the checkpoint's spec
        self,
        num_classes: int,
        *,
        encoder: EncoderName = "efficientnet_lite0",
        late_maps: bool = False,
        pyramid_channels: Width = 256,
        segmentation_channels: LevelWidth = 128,
        merge: Literal["add", "cat"] = "add",
        align_corners: bool = False,
        drop_rate: Rate = 0.2,
    ) -> None:
        super().__init__()
        self.merge = merge
        self.align_corners = align_corners
        self.encoder = build_encoder(encoder, late_maps=late_maps)
        _, *fine_to_coarse = self.encoder.channels
        self.laterals = nn.ModuleList(nn.Conv2d(channels, pyramid_channels, 1) for channels in reversed(fine_to_coarse))
        self.levels = nn.ModuleList(
            _level(pyramid_channels, segmentation_channels, doublings=doublings) for doublings in DOUBLINGS
        )
        self.drop = nn.Dropout2d(drop_rate)
        self.score = nn.Conv2d(segmentation_channels * (len(DOUBLINGS) if merge == "cat" else 1), num_classes, 1)

    def forward(self, images: Tensor) -> Prediction:
        """Map images ``[B, 3, H, W]`` to scores ``[B, C, H/4, W/4]``."""
        _, *fine_to_coarse = self.encoder(images)
        pyramid = self._pyramid(fine_to_coarse[::-1])
        levels = [self._at_finest(level, pyramid[i:]) for i, level in enumerate(self.levels)]  # [B, F, H/4, W/4]
        merged = torch.cat(levels, dim=1) if self.merge == "cat" else torch.stack(levels).sum(dim=0)
        return coarse_prediction(self.score(self.drop(merged)), like=images, align_corners=self.align_corners)

    def _pyramid(self, coarse_to_fine: Sequence[Tensor]) -> list[Tensor]:
        """Give each map the channels of the pyramid, and what the coarser ones say."""
        coarsest, *finer = (lateral(maps) for lateral, maps in zip(self.laterals, coarse_to_fine, strict=True))
        pyramid: list[Tensor] = [coarsest]
        for maps in finer:
            pyramid.append(maps + F.interpolate(pyramid[-1], size=maps.shape[-2:], mode="nearest"))
        return pyramid

    def _at_finest(self, level: nn.Module, coarse_to_fine: Sequence[Tensor]) -> Tensor:
        """Bring the first of some maps, step by step, to the size of the last."""
        x, *finer = coarse_to_fine
        for i, block in enumerate(level.children()):
            x = block(x)
            if finer:
                x = upsampled(x, like=finer[i], align_corners=self.align_corners)
        return x


def _level(in_channels: int, channels: int, *, doublings: int) -> nn.Sequential:
    """Build a convolution for each doubling, and one where there is none."""
    widths = [in_channels, *[channels] * max(1, doublings)]
    return nn.Sequential(*(_conv_norm(*pair) for pair in pairwise(widths)))


def _conv_norm(in_channels: int, channels: int) -> nn.Sequential:
    convolution = he_initialised(nn.Conv2d(in_channels, channels, 3, padding=1, bias=False))
    return nn.Sequential(convolution, nn.GroupNorm(GROUPS, channels), nn.ReLU(inplace=True))
