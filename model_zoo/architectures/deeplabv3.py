"""Build DeepLabV3: atrous pyramid pooling over a dilated encoder, the network that torchvision trains under this name.

Chen, Papandreou, Schroff, Adam 2017, "Rethinking Atrous Convolution for Semantic Image Segmentation",
https://arxiv.org/abs/1706.05587.

Letters: B batch, C classes, F features, H and W height and width.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from model_zoo.architectures.fcn_resnet import fcn_head
from model_zoo.architectures.layers import (
    ImagePool,
    PoolNorm,
    Rate,
    coarse_prediction,
    conv_norm,
    he_initialised,
    upsampled,
)
from model_zoo.backbones import OutputStride, build_encoder
from model_zoo.spec import Prediction

DeepEncoder = Literal["resnet18", "resnet50", "resnet101", "mobilenet_v3_large"]
AtrousRate = Annotated[int, Field(ge=1, le=36)]

WIDTH = 256
AUXILIARY_TAPS = {"resnet18": 3, "resnet50": 3, "resnet101": 3, "mobilenet_v3_large": 2}
"""The feature map that the auxiliary head sees: torchvision takes layer3 of a ResNet, and stride 8 of MobileNetV3."""


class DeepLabV3(nn.Module):
    """Label pixels with context at several scales; in training, score a feature map from halfway as well.

    The weights are those of torchvision's ``deeplabv3_resnet50``, ``deeplabv3_resnet101`` and, with an output stride of
    16, ``deeplabv3_mobilenet_v3_large``, all with ``pool_norm="batch"``, which is told to ``ImagePool``.
    ``atrous_rate`` is the smallest of the three, the others are its double and triple; the paper takes 12 at output
    stride 8, and 6 at 16. Both heads drop the same share; torchvision's auxiliary head drops 0.1 in training.
    """

    def __init__(  # noqa: PLR0913  # each is a word of the checkpoint's spec
        self,
        num_classes: int,
        *,
        encoder: DeepEncoder = "resnet50",
        output_stride: OutputStride = 8,
        atrous_rate: AtrousRate = 12,
        pool_norm: PoolNorm = "layer",
        auxiliary: bool = True,
        drop_rate: Rate = 0.5,
    ) -> None:
        super().__init__()
        self.encoder = build_encoder(encoder, output_stride=output_stride)
        self.auxiliary_tap = AUXILIARY_TAPS[encoder]
        *_, deep = self.encoder.channels
        self.head = nn.Sequential(
            AtrousPyramid(deep, atrous_rate=atrous_rate, pool_norm=pool_norm, drop_rate=drop_rate),
            *conv_norm(WIDTH, WIDTH, kernel=3),
            nn.Conv2d(WIDTH, num_classes, 1),
        )
        halfway = self.encoder.channels[self.auxiliary_tap]
        self.auxiliary = fcn_head(halfway, num_classes, drop_rate=drop_rate) if auxiliary else None

    def forward(self, images: Tensor) -> Prediction:
        """Map images ``[B, 3, H, W]`` to scores as coarse as the last map."""
        maps = self.encoder(images)
        prediction = coarse_prediction(self.head(maps[-1]), like=images)
        if self.auxiliary is None or not self.training:
            return prediction
        halfway = self.auxiliary(maps[self.auxiliary_tap])
        return replace(prediction, auxiliary={"halfway": upsampled(halfway, like=images)})


class AtrousPyramid(nn.Module):
    """See each place at several scales at once, the whole image included; the names inside are torchvision's."""

    def __init__(self, channels: int, *, atrous_rate: int, pool_norm: PoolNorm, drop_rate: float) -> None:
        super().__init__()
        rates = (atrous_rate, 2 * atrous_rate, 3 * atrous_rate)
        atrous = [conv_norm(channels, WIDTH, kernel=3, dilation=rate) for rate in rates]
        fine = conv_norm(channels, WIDTH)
        convolution = he_initialised(nn.Conv2d(channels, WIDTH, 1, bias=False))
        whole = ImagePool(convolution, pool_norm, first=1)  # torchvision counts the pooling itself as 0
        self.convs = nn.ModuleList([fine, *atrous, whole])
        self.project = nn.Sequential(*conv_norm(len(self.convs) * WIDTH, WIDTH), nn.Dropout(drop_rate))

    def forward(self, features: Tensor) -> Tensor:
        """Map ``[B, F, H, W]`` to ``[B, F', H, W]``."""
        projected: Tensor = self.project(torch.cat([conv(features) for conv in self.convs], dim=1))
        return projected
