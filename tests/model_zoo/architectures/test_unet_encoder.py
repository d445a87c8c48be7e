from __future__ import annotations

from typing import get_args

import pytest
import torch
from torch import Tensor

from model_zoo.architectures.unet_encoder import EncoderUNet
from model_zoo.backbones import EncoderName, build_encoder


@pytest.mark.parametrize("encoder", get_args(EncoderName))
def test_every_encoder_takes_odd_sizes(encoder: EncoderName) -> None:
    with torch.device("meta"):
        network = EncoderUNet(4, encoder=encoder)

    assert network(torch.empty(2, 3, 75, 93, device="meta")).logits.shape == (2, 4, 75, 93)


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
