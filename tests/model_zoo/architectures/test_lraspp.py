from __future__ import annotations

import torch
from torchvision.models.segmentation import (  # type: ignore[import-untyped]  # torchvision has no stubs
    lraspp_mobilenet_v3_large,
)

from model_zoo.architectures.lraspp import LRASPP


def test_torchvision_weights_fit_and_give_torchvision_logits() -> None:
    torch.manual_seed(0)
    theirs = lraspp_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=7).eval()
    prefixes = {"backbone": "encoder.features", "classifier": "head"}
    renamed = {
        prefixes[(parts := name.split(".", 1))[0]] + "." + parts[1]: w for name, w in theirs.state_dict().items()
    }
    ours = LRASPP(7).eval()
    ours.load_state_dict(renamed)
    images = torch.randn(1, 3, 65, 97)

    with torch.inference_mode():
        expected, logits = theirs(images)["out"], ours(images).logits

    torch.testing.assert_close(logits, expected)
