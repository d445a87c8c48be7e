from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torchvision.models import segmentation  # type: ignore[import-untyped]  # torchvision has no stubs

from model_zoo.architectures import build
from model_zoo.architectures.deeplabv3 import DeepLabV3
from model_zoo.architectures.torchvision_names import from_torchvision, to_torchvision
from model_zoo.card import Card
from model_zoo.checkpoint import load, save
from model_zoo.spec import Argument, ModelSpec

Theirs = Callable[..., nn.Module]

MOBILE: Mapping[str, Argument] = {"encoder": "mobilenet_v3_large", "output_stride": 16, "pool_norm": "batch"}
RESNET: Mapping[str, Argument] = {"encoder": "resnet50", "pool_norm": "batch"}
LARGER: Mapping[str, Argument] = {"encoder": "resnet101", "pool_norm": "batch"}
BOTH = [(segmentation.deeplabv3_mobilenet_v3_large, MOBILE), (segmentation.deeplabv3_resnet50, RESNET)]
EVERY = [*BOTH, (segmentation.deeplabv3_resnet101, LARGER)]


def pair(theirs: Theirs, arguments: Mapping[str, Argument], *, auxiliary: bool = True) -> tuple[nn.Module, nn.Module]:
    """Give torchvision's network, with weights and statistics that say something, and ours with the same."""
    torch.manual_seed(0)
    network = theirs(weights=None, weights_backbone=None, num_classes=7, aux_loss=auxiliary)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    ours = build("deeplabv3", 7, {**arguments, "auxiliary": auxiliary})
    ours.load_state_dict({from_torchvision(name): weight for name, weight in network.state_dict().items()})
    return network, ours


@pytest.fixture(scope="module", params=BOTH, ids=["mobilenet_v3_large", "resnet50"])
def networks(request: pytest.FixtureRequest) -> tuple[nn.Module, nn.Module]:
    return pair(*request.param)


@pytest.mark.parametrize("size", [(33, 33), (65, 97), (64, 48), (1, 1), (7, 130)], ids=str)
def test_torchvision_weights_fit_and_give_torchvision_logits(
    networks: tuple[nn.Module, nn.Module], size: tuple[int, int]
) -> None:
    theirs, ours = (network.eval() for network in networks)
    images = torch.randn(2, 3, *size)

    with torch.inference_mode():
        expected, prediction = theirs(images)["out"], ours(images)

    assert expected.std() > 0.02
    assert not prediction.auxiliary
    torch.testing.assert_close(prediction.logits, expected, atol=1e-5, rtol=1e-5)


def test_in_training_the_auxiliary_logits_are_those_of_torchvision_dropout_included(
    networks: tuple[nn.Module, nn.Module],
) -> None:
    theirs, ours = (network.train() for network in networks)
    theirs.get_submodule("aux_classifier.3").p = 0.5  # type: ignore[assignment]  # ours drops as much as the other head
    images = torch.randn(2, 3, 33, 49)

    with torch.inference_mode():
        torch.manual_seed(0)
        expected = theirs(images)
        torch.manual_seed(0)
        prediction = ours(images)

    torch.testing.assert_close(prediction.logits, expected["out"], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(prediction.auxiliary["halfway"], expected["aux"], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("theirs", "arguments"), EVERY)
@pytest.mark.parametrize("auxiliary", [True, False])
def test_names_and_shapes_are_those_of_torchvision(
    theirs: Theirs, arguments: Mapping[str, Argument], auxiliary: bool
) -> None:
    with torch.device("meta"):
        wanted = theirs(weights=None, weights_backbone=None, num_classes=3, aux_loss=auxiliary).state_dict()
        found = build("deeplabv3", 3, {**arguments, "auxiliary": auxiliary}).state_dict()

    assert {to_torchvision(name): weight.shape for name, weight in found.items()} == {
        name: weight.shape for name, weight in wanted.items()
    }


@pytest.mark.parametrize(
    ("arguments", "strides", "rates"),
    [
        ({"encoder": "resnet50"}, (2, 4, 8, 8, 8), [12, 24, 36]),
        ({"encoder": "resnet50", "output_stride": 16, "atrous_rate": 6}, (2, 4, 8, 16, 16), [6, 12, 18]),
        ({"encoder": "resnet101", "output_stride": 32, "atrous_rate": 3}, (2, 4, 8, 16, 32), [3, 6, 9]),
    ],
)
def test_row_17_and_trap_35_strides_and_rates_switch_without_new_weights(
    arguments: dict[str, Any], strides: tuple[int, ...], rates: list[int]
) -> None:
    with torch.device("meta"):
        network, usual = DeepLabV3(3, **arguments), DeepLabV3(3, encoder=arguments["encoder"])

    head = network.head.modules()
    assert network.encoder.strides == strides
    assert [m.dilation[0] for m in head if isinstance(m, nn.Conv2d) and m.dilation[0] > 1] == rates
    assert {name: weight.shape for name, weight in network.state_dict().items()} == {
        name: weight.shape for name, weight in usual.state_dict().items()
    }


def test_row_10_and_trap_31_a_batch_of_one_learns_in_the_image_pool_branch() -> None:
    network = DeepLabV3(3, encoder="resnet18").train()

    network(torch.randn(1, 3, 32, 32)).logits.sum().backward()

    assert {name: p.grad is not None for name, p in network.named_parameters() if "convs.4" in name} == {
        "head.0.convs.4.1.weight": True,
        "head.0.convs.4.2.weight": True,
        "head.0.convs.4.2.bias": True,
    }


def test_row_10_and_trap_31_batch_norm_over_one_pixel_says_what_would_do() -> None:
    network = DeepLabV3(3, encoder="resnet18", pool_norm="batch").train()

    with pytest.raises(ValueError, match="a batch of one image; more images, freeze_norms or pool_norm='layer'"):
        network(torch.randn(1, 3, 32, 32))


def test_row_10_and_trap_31_batch_norm_over_one_pixel_is_used_where_it_does_not_learn() -> None:
    network = DeepLabV3(3, encoder="resnet18", pool_norm="batch").train()
    network.head.eval()

    assert network(torch.randn(1, 3, 32, 32)).logits.isfinite().all()


def test_trap_34_a_checkpoint_keeps_the_auxiliary_head_and_serving_does_not_run_it(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = DeepLabV3(2, encoder="resnet18").eval()
    images = torch.randn(1, 3, 48, 40)
    spec = ModelSpec(
        architecture="deeplabv3", arguments={"encoder": "resnet18"}, classes=("a", "b"), palette=((0, 0, 0), (1, 1, 1))
    )
    save(tmp_path / "deeplab.safetensors", network, Card(name="deeplab", spec=spec))

    found = load(tmp_path / "deeplab.safetensors").network

    with torch.inference_mode():
        before, after = network(images), found(images)
    assert torch.equal(before.logits, after.logits)
    assert not after.auxiliary
    assert set(found.train()(images).auxiliary) == {"halfway"}
