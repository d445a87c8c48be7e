"""Take networks from torchvision, which is imported when the first of them is built.

To import it takes as long as to import torch, and most of the checkpoints that are served need nothing of it.
"""

from __future__ import annotations

from typing import Literal

from torch import nn

Name = Literal["mobilenet_v2", "mobilenet_v3_large", "resnet18", "resnet34", "resnet50", "resnet101"]


def build_classifier(name: Name) -> nn.Module:
    """Build a classification network of torchvision, with random weights."""
    from torchvision import models  # type: ignore[import-untyped]  # noqa: PLC0415  # no stubs; see above

    network: nn.Module = getattr(models, name)(weights=None)
    return network


def build_lraspp_head(low_channels: int, high_channels: int, num_classes: int, inner_channels: int) -> nn.Module:
    """Build the head of torchvision's LR-ASPP, with random weights."""
    from torchvision.models.segmentation import lraspp  # type: ignore[import-untyped]  # noqa: PLC0415  # see above

    head: nn.Module = lraspp.LRASPPHead(low_channels, high_channels, num_classes, inner_channels)
    return head
