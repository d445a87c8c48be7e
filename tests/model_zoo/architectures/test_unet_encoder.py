from __future__ import annotations

from typing import get_args

import pytest
import torch
from torch import Tensor

from model_zoo.architectures import build
from model_zoo.architectures.unet_encoder import EncoderUNet
from model_zoo.backbones import EncoderName, build_encoder
from tests.model_zoo.blank import blank


@pytest.mark.parametrize("encoder", get_args(EncoderName))
def test_every_encoder_takes_odd_sizes(encoder: EncoderName) -> None:
    with torch.device("meta"):
        network = EncoderUNet(4, encoder=encoder)

    with torch.inference_mode():
        logits = blank(network)(torch.zeros(2, 3, 75, 93)).logits

    assert logits.shape == (2, 4, 75, 93)


@pytest.mark.parametrize("widths", ["256-128-64-32-16", "48-24-24-8", "32-16-8"])
def test_widths_say_how_wide_each_step_is_and_how_many_there_are(widths: str) -> None:
    with torch.device("meta"):
        network = EncoderUNet(4, encoder="resnet34", widths=widths)

    with torch.inference_mode():
        logits = blank(network)(torch.zeros(1, 3, 75, 93)).logits

    steps = len(widths.split("-"))
    assert logits.shape == (1, 4, 75, 93)
    assert "-".join(str(network.state_dict()[f"merges.{i}.1.0.weight"].shape[0]) for i in range(steps)) == widths
    assert len(network.encoder.channels) == len(network.merges) == steps


def test_widths_that_double_are_those_of_base_channels() -> None:
    with torch.device("meta"):
        told, doubled = EncoderUNet(4, widths="128-64-32-16-8"), EncoderUNet(4, base_channels=8)

    assert {n: w.shape for n, w in told.state_dict().items()} == {n: w.shape for n, w in doubled.state_dict().items()}


@pytest.mark.parametrize(
    "widths", ["", "16", "16-8", "16-8-4-2-1-1", "0-8-4", "1025-8-4", "16-8-x", "16-8-4\n", "-8-4-2"]
)
def test_widths_that_are_too_many_too_few_or_too_wide_are_refused(widths: str) -> None:
    with pytest.raises(ValueError, match=r"unet_encoder has widths=[^\n]+ String should match pattern"):
        build("unet_encoder", 4, {"widths": widths})


def test_a_center_convolves_the_coarsest_map_twice_more() -> None:
    with torch.device("meta"):
        without, network = EncoderUNet(4, encoder="vgg16"), EncoderUNet(4, encoder="vgg16", center=True)
        logits = network(torch.empty(1, 3, 64, 64, device="meta")).logits

    added = network.state_dict().keys() - without.state_dict().keys()
    assert logits.shape == (1, 4, 64, 64)
    assert {name.rsplit(".", 1)[0] for name in added} == {"center.0.0", "center.0.1", "center.1.0", "center.1.1"}


def test_row_16_and_trap_31_a_frozen_encoder_learns_nothing_not_even_its_statistics() -> None:
    torch.manual_seed(0)
    network = EncoderUNet(4, base_channels=4, freeze_encoder=True)
    network.train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    optimizer = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], lr=0.1)

    network(torch.randn(2, 3, 64, 64)).logits.square().mean().backward()
    optimizer.step()

    changed = {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}
    assert not any(name.startswith("encoder.") for name in changed)
    assert "score.weight" in changed
    assert not network.encoder.training
    assert network.merges.training


def test_row_16_the_tutorials_taps_are_one_layer_from_ours() -> None:
    torch.manual_seed(0)
    encoder = build_encoder("mobilenet_v2").eval()
    expansions = [encoder.features.get_submodule(f"{block}.conv.0") for block in (2, 4, 7, 14)]
    project, last = encoder.features.get_submodule("17"), encoder.features.get_submodule("18")
    theirs: list[Tensor] = []
    for layer in (*expansions, project):
        layer.register_forward_hook(lambda _module, _inputs, output: theirs.append(output))

    with torch.inference_mode():
        ours = encoder(torch.randn(1, 3, 128, 128))
        expanded = [layer(features) for layer, features in zip(expansions, ours, strict=False)]
        coarsest = last(theirs[4])

    # block_1_expand_relu, block_3_expand_relu, block_6_expand_relu, block_13_expand_relu, block_16_project_BN
    assert [m.shape[1:] for m in theirs[:5]] == [(96, 64, 64), (144, 32, 32), (192, 16, 16), (576, 8, 8), (320, 4, 4)]
    assert [m.shape[1:] for m in ours] == [(16, 64, 64), (24, 32, 32), (32, 16, 16), (96, 8, 8), (1280, 4, 4)]
    torch.testing.assert_close(expanded, theirs[:4])
    torch.testing.assert_close(coarsest, ours[4])
