import copy

import torch
from torch import nn

from training.precision import determinism, keep_depthwise_float32


def make_network() -> nn.Sequential:
    network = nn.Sequential(nn.Conv2d(4, 8, 1), nn.Conv2d(8, 8, 3, groups=8), nn.Conv2d(8, 2, 1))
    keep_depthwise_float32(network)
    return network


def test_only_depthwise_convolutions_leave_bfloat16() -> None:
    network = make_network()
    x = torch.randn(1, 4, 8, 8)

    dtypes = []
    with torch.autocast("cpu", torch.bfloat16):
        for layer in network:
            x = layer(x)
            dtypes.append(x.dtype)

    assert dtypes == [torch.bfloat16, torch.float32, torch.bfloat16]


def test_names_and_numbers_stay_as_they_were() -> None:
    network = make_network()
    plain = nn.Sequential(nn.Conv2d(4, 8, 1), nn.Conv2d(8, 8, 3, groups=8), nn.Conv2d(8, 2, 1))

    plain.load_state_dict(network.state_dict(), strict=True)

    x = torch.randn(1, 4, 8, 8)
    assert torch.equal(network(x), plain(x))


def test_a_copy_uses_its_own_weights() -> None:
    network = make_network()
    copied = copy.deepcopy(network)
    x = torch.randn(1, 4, 8, 8)
    before = network(x)

    nn.init.zeros_(copied[1].get_parameter("weight"))

    assert torch.equal(network(x), before)
    assert not torch.equal(copied(x), before)


def test_trap_53_deterministic_operations_are_asked_for_and_no_longer_than_wanted() -> None:
    found = []
    for is_wanted in (True, False):
        with determinism(is_wanted=is_wanted):
            found.append(torch.are_deterministic_algorithms_enabled())

    assert found == [True, False]
    assert not torch.are_deterministic_algorithms_enabled()
