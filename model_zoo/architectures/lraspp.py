"""Build LR-ASPP, the segmentation network of MobileNetV3: the fastest on a CPU.

Howard, Sandler, Chu and others 2019, "Searching for MobileNetV3", https://arxiv.org/abs/1905.02244.

Letters: B batch, C classes, H and W height and width.
"""

from __future__ import annotations

from torch import Tensor, nn

from model_zoo.architectures.layers import Width, coarse_prediction
from model_zoo.backbones import build_encoder
from model_zoo.spec import Prediction
from model_zoo.torchvision_models import build_lraspp_head


class LRASPP(nn.Module):
    """Weigh the coarse features by what the whole image shows, and add scores of the fine ones.

    The weights are those of torchvision's ``lraspp_mobilenet_v3_large``, its ``backbone.`` being our
    ``encoder.features.`` and its ``classifier.`` our ``head.``.
    """

    def __init__(self, num_classes: int, *, head_channels: Width = 128) -> None:
        super().__init__()
        self.encoder = build_encoder("mobilenet_v3_large", output_stride=16)
        _, _, low_channels, _, high_channels = self.encoder.channels
        self.head = build_lraspp_head(low_channels, high_channels, num_classes, head_channels)

    def forward(self, images: Tensor) -> Prediction:
        """Map images ``[B, 3, H, W]`` to scores ``[B, C, H/8, W/8]``."""
        _, _, low, _, high = self.encoder(images)
        scores = self.head({"low": low, "high": high})  # [B, C, H/8, W/8]
        return coarse_prediction(scores, like=images)
