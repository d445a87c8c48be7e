from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torchvision.models.segmentation import (  # type: ignore[import-untyped]  # torchvision has no stubs
    fcn_resnet50,
    fcn_resnet101,
)

from model_zoo.architectures.fcn_resnet import FCNResNet
from model_zoo.architectures.torchvision_names import from_torchvision
from model_zoo.card import Card
from model_zoo.checkpoint import load, save
from model_zoo.spec import ModelSpec

SPEC = ModelSpec(
    architecture="fcn_resnet", arguments={"encoder": "resnet18"}, classes=("a", "b"), palette=((0, 0, 0), (1, 1, 1))
)


def renamed(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {from_torchvision(name): weight for name, weight in weights.items()}


def shapes(weights: dict[str, Tensor]) -> dict[str, torch.Size]:
    return {name: weight.shape for name, weight in weights.items()}


def test_torchvision_weights_fit_and_give_torchvision_logits() -> None:
    torch.manual_seed(0)
    theirs = fcn_resnet50(weights=None, weights_backbone=None, num_classes=7, aux_loss=True).eval()
    ours = FCNResNet(7).eval()
    images = torch.randn(1, 3, 65, 97)

    ours.load_state_dict(renamed(theirs.state_dict()))

    with torch.inference_mode():
        expected, logits = theirs(images)["out"], ours(images).logits
    assert expected.std() > 0.1
    torch.testing.assert_close(logits, expected, atol=1e-5, rtol=0)


def test_in_training_the_auxiliary_logits_are_those_of_torchvision_dropout_included() -> None:
    theirs = fcn_resnet50(weights=None, weights_backbone=None, num_classes=7, aux_loss=True).train()
    ours = FCNResNet(7).train()
    ours.load_state_dict(renamed(theirs.state_dict()))
    images = torch.randn(2, 3, 33, 49)

    with torch.inference_mode():
        torch.manual_seed(0)
        expected = theirs(images)
        torch.manual_seed(0)
        prediction = ours(images)

    torch.testing.assert_close(prediction.logits, expected["out"], atol=1e-5, rtol=0)
    torch.testing.assert_close(prediction.auxiliary["layer3"], expected["aux"], atol=1e-5, rtol=0)


def test_the_names_of_torchvisions_larger_network_fit() -> None:
    with torch.device("meta"):
        theirs = fcn_resnet101(weights=None, weights_backbone=None, num_classes=21, aux_loss=True)
        ours = FCNResNet(21, encoder="resnet101")

    assert shapes(renamed(theirs.state_dict())) == shapes(ours.state_dict())


@pytest.mark.parametrize(("auxiliary", "num_parameters"), [(True, 35_322_218), (False, 32_957_013)])
def test_trap_34_parameters_are_those_of_torchvision_with_the_auxiliary_head_and_without(
    auxiliary: bool, num_parameters: int
) -> None:
    with torch.device("meta"):
        network = FCNResNet(21, auxiliary=auxiliary)

    assert sum(parameter.numel() for parameter in network.parameters()) == num_parameters


def test_trap_34_a_second_head_is_all_that_differs() -> None:
    with torch.device("meta"):
        plain, trained = FCNResNet(2, auxiliary=False), FCNResNet(2, auxiliary=True)

    more = shapes(trained.state_dict()).keys() - shapes(plain.state_dict()).keys()

    assert shapes(plain.state_dict()).items() <= shapes(trained.state_dict()).items()
    assert {name.partition(".")[0] for name in more} == {"auxiliary"}


def test_trap_34_a_checkpoint_keeps_the_auxiliary_head_and_serving_does_not_run_it(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = FCNResNet(2, encoder="resnet18").eval()
    images = torch.randn(1, 3, 48, 40)
    save(tmp_path / "fcn.safetensors", network, Card(name="fcn", spec=SPEC))

    found = load(tmp_path / "fcn.safetensors").network

    with torch.inference_mode():
        before, after = network(images), found(images)
    assert torch.equal(before.logits, after.logits)
    assert not after.auxiliary
    assert set(found.train()(images.expand(2, -1, -1, -1)).auxiliary) == {"layer3"}


def test_trap_35_the_output_stride_switches_without_new_weights() -> None:
    with torch.device("meta"):
        strides = {stride: FCNResNet(2, output_stride=stride) for stride in (8, 16, 32)}

    assert [network.encoder.strides[-1] for network in strides.values()] == [8, 16, 32]
    assert shapes(strides[8].state_dict()) == shapes(strides[16].state_dict()) == shapes(strides[32].state_dict())
