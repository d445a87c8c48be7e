"""Build FCN on a dilated ResNet, the network that torchvision trains under this name.

Long, Shelhamer, Darrell 2015, "Fully Convolutional Networks for Semantic Segmentation",
https://arxiv.org/abs/1411.4038; dilation keeps the resolution in place of skips (Yu, Koltun, Funkhouser 2017, "Dilated
Residual Networks", https://arxiv.org/abs/1705.09914).

Letters: B batch, C classes, F features, H and W height and width.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from torch import Tensor, nn

from model_zoo.architectures.layers import Rate, coarse_prediction, conv_norm, upsampled
from model_zoo.backbones import OutputStride, build_encoder
from model_zoo.spec import Prediction

ResNet = Literal["resnet18", "resnet50", "resnet101"]

NARROWING = 4


class FCNResNet(nn.Module):
    """Score the coarse features of a ResNet and upsample the scores; in training, score those of ``layer3`` as well.

    The weights are those of torchvision's ``fcn_resnet50`` and ``fcn_resnet101``, under the names that
    ``torchvision_names`` gives. With ``auxiliary=False`` there is no second head, neither in training nor in the file.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        encoder: ResNet = "resnet50",
        output_stride: OutputStride = 8,
        auxiliary: bool = True,
        drop_rate: Rate = 0.1,
    ) -> None:
        super().__init__()
        self.encoder = build_encoder(encoder, output_stride=output_stride)
        *_, middle, last = self.encoder.channels
        self.head = fcn_head(last, num_classes, drop_rate=drop_rate)
        self.auxiliary = fcn_head(middle, num_classes, drop_rate=drop_rate) if auxiliary else None

    def forward(self, images: Tensor) -> Prediction:
        """Map images ``[B, 3, H, W]`` to scores ``[B, C, H/8, W/8]``."""
        *_, middle, last = self.encoder(images)  # [B, F, H/8, W/8]
        prediction = coarse_prediction(self.head(last), like=images)
        if self.auxiliary is None or not self.training:
            return prediction
        return replace(prediction, auxiliary={"layer3": upsampled(self.auxiliary(middle), like=images)})


def fcn_head(channels: int, num_classes: int, *, drop_rate: float) -> nn.Sequential:
    """Build what scores a feature map ``[B, F, H, W]`` of as many channels."""
    width = channels // NARROWING
    return nn.Sequential(*conv_norm(channels, width, kernel=3), nn.Dropout(drop_rate), nn.Conv2d(width, num_classes, 1))
