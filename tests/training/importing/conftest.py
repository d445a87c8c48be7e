"""Make torchvision's networks with weights and statistics that say something."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import segmentation  # type: ignore[import-untyped]  # torchvision has no stubs

from model_zoo import checkpoint
from training.__main__ import main

BUILDERS: Mapping[str, Callable[..., nn.Module]] = {
    "lraspp_mobilenet_v3_large": segmentation.lraspp_mobilenet_v3_large,
    "fcn_resnet50": segmentation.fcn_resnet50,
    "deeplabv3_resnet50": segmentation.deeplabv3_resnet50,
}


class Theirs(NamedTuple):
    """Hold a network of torchvision and the file of its weights."""

    network: nn.Module
    file: Path

    def logits(self, images: Tensor) -> Tensor:
        with torch.inference_mode():
            logits: Tensor = self.network(images)["out"]
        return logits


def network_of(name: str, **options: object) -> nn.Module:
    """Build a network with random weights, and statistics of a few random images: each layer's are its own."""
    torch.manual_seed(0)
    network = BUILDERS[name](weights=None, weights_backbone=None, **options).train()
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
        nn.init.normal_(norm.bias, std=0.1)
    with torch.no_grad():
        network(torch.randn(2, 3, 64, 64))
    return network.eval()


@pytest.fixture(scope="session", params=BUILDERS)
def theirs(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Theirs:
    """Give each of torchvision's families, of 21 classes."""
    network, file = network_of(request.param), tmp_path_factory.mktemp("theirs") / f"{request.param}.pth"
    torch.save(network.state_dict(), file)
    return Theirs(network, file)


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Theirs:
    """Give the smallest of torchvision's networks, of 5 classes."""
    network = network_of("lraspp_mobilenet_v3_large", num_classes=5)
    file = tmp_path_factory.mktemp("small") / "lraspp.pth"
    torch.save(network.state_dict(), file)
    return Theirs(network, file)


@pytest.fixture(scope="session")
def small_spec(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a spec file that lets networks see images of 64 pixels, so that tests are quick."""
    path = tmp_path_factory.mktemp("spec") / "small.toml"
    path.write_text('[size]\npolicy = "shortest"\nside = 64\nmultiple = 1\n')
    return path


@pytest.fixture(scope="session")
def imported(theirs: Theirs, small_spec: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the checkpoint that ``theirs`` becomes."""
    out = tmp_path_factory.mktemp("imported") / "ours.safetensors"
    assert import_with(theirs.file, "--out", out, "--spec", small_spec) == 0
    return out


@pytest.fixture(scope="session")
def ours(imported: Path) -> nn.Module:
    """Give the network of that checkpoint, which passes its self-test."""
    return checkpoint.verify(imported).network


@pytest.fixture(scope="session")
def imported_small(small: Theirs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the checkpoint that ``small`` becomes, with nothing said but the names of its classes."""
    out = tmp_path_factory.mktemp("imported") / "small.safetensors"
    assert import_with(small.file, "--out", out, "--classes", "a,b,c,d,e") == 0
    return out


def import_with(*words: object) -> int:
    """Run ``segtrain import`` and give its exit code."""
    return main(["import", *map(str, words)])
