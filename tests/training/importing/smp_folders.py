"""Make folders as segmentation-models-pytorch saves them, with weights and statistics that say something."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import segmentation_models_pytorch as smp  # type: ignore[import-untyped]  # it has no stubs
import torch
from torch import Tensor, nn

from model_zoo.architectures import build
from training.importing.smp import read_smp

NETWORKS: Mapping[str, Callable[..., nn.Module]] = {
    "Unet": smp.Unet,
    "DeepLabV3Plus": smp.DeepLabV3Plus,
    "FPN": smp.FPN,
}
NARROW: Mapping[str, Mapping[str, object]] = {
    "Unet": {"decoder_channels": (24, 16, 16, 8, 8)},
    "DeepLabV3Plus": {"decoder_channels": 16},
    "FPN": {"decoder_pyramid_channels": 16, "decoder_segmentation_channels": 64},
}
"""Options that keep the tests quick."""


def smp_network(kind: str, encoder: str, **options: object) -> nn.Module:
    """Build a narrow network with random weights and, in batch norm, the statistics of random images."""
    torch.manual_seed(0)
    network = NETWORKS[kind](encoder, **{"encoder_weights": None, "classes": 3, **NARROW[kind], **options})
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.normal_(norm.bias, std=0.2)
    with torch.no_grad():
        network.train()(torch.randn(2, 3, 64, 64))
    return network.eval()


def smp_folder(folder: Path, kind: str = "Unet", encoder: str = "mobilenet_v2", **options: object) -> nn.Module:
    """Save a network as that package does, and give it."""
    network = smp_network(kind, encoder, **options)
    network.save_pretrained(folder)  # type: ignore[operator]  # torch takes it for a module
    return network


def change_config(folder: Path, **changes: object) -> None:
    """Say other things in a folder's config."""
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def imported(folder: Path) -> nn.Module:
    """Give a folder's network as one of ours."""
    foreign = read_smp(folder)
    with torch.device("meta"):
        network = build(foreign.architecture, foreign.num_classes, foreign.arguments)
    network.load_state_dict(foreign.weights, assign=True)
    return network.eval()


def logits_of(network: nn.Module, images: Tensor) -> Tensor:
    """Run one of their networks, or one of ours."""
    with torch.inference_mode():
        found = network(images)
    if isinstance(found, Tensor):
        return found
    masks: Tensor = found[0] if isinstance(found, tuple) else found.logits
    return masks
