from __future__ import annotations

from typing import get_args

import pytest
import torch

from model_zoo.architectures.unet_encoder import EncoderUNet
from model_zoo.backbones import EncoderName


@pytest.mark.parametrize("encoder", get_args(EncoderName))
def test_every_encoder_takes_odd_sizes(encoder: EncoderName) -> None:
    with torch.device("meta"):
        network = EncoderUNet(4, encoder=encoder)

    assert network(torch.empty(2, 3, 75, 93, device="meta")).logits.shape == (2, 4, 75, 93)


def test_trap_31_a_frozen_encoder_learns_nothing_not_even_its_statistics() -> None:
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
