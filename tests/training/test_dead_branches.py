import pytest
import torch
from torch import Tensor, nn

from model_zoo.architectures import build
from training.dead_branches import WATCHED_STEPS, DeadBranches


class TwoBranches(nn.Module):
    """Add two branches, one of which may be cut off by a layer that starts at zero before another that does."""

    def __init__(self, *, zeros: int) -> None:
        super().__init__()
        self.skip = nn.Conv2d(2, 2, 1)
        self.deep = nn.Sequential(nn.Conv2d(2, 2, 1), nn.Conv2d(2, 2, 1, bias=False))
        for layer in list(self.deep)[2 - zeros :]:
            for weight in layer.parameters():
                nn.init.zeros_(weight)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[B, 2, H, W]`` to the same shape."""
        found: Tensor = self.skip(x) + self.deep(x)
        return found


def watch(network: nn.Module, images: Tensor, target: Tensor) -> list[str]:
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    dead = DeadBranches(network)
    found = []
    for _ in range(WATCHED_STEPS + 2):
        optimizer.zero_grad()
        prediction = network(images)
        ((getattr(prediction, "logits", prediction) - target) ** 2).mean().backward()
        found += dead.update()
        optimizer.step()
    return found


def test_a_branch_of_one_zero_layer_is_not_dead() -> None:
    assert watch(TwoBranches(zeros=1), torch.randn(2, 2, 4, 4), torch.randn(2, 2, 4, 4)) == []


def test_trap_25_a_branch_of_two_zero_layers_is_named_once() -> None:
    network = TwoBranches(zeros=2)
    with torch.no_grad():
        network.deep[0].bias.zero_()  # type: ignore[operator]  # it is a tensor

    assert watch(network, torch.randn(2, 2, 4, 4), torch.randn(2, 2, 4, 4)) == ["deep.0", "deep.1"]


def test_frozen_layers_are_not_expected_to_learn() -> None:
    network = TwoBranches(zeros=2)
    network.deep.requires_grad_(requires_grad=False)

    assert watch(network, torch.randn(2, 2, 4, 4), torch.randn(2, 2, 4, 4)) == []


@pytest.mark.parametrize("architecture", ["fcn32s", "fcn16s", "fcn8s"])
def test_row_8_the_papers_zero_scores_leave_no_branch_dead(architecture: str) -> None:
    torch.manual_seed(0)
    network = build(architecture, 3, {"head_width": 512, "head_kernel": 1, "drop_rate": 0.0})

    assert watch(network, torch.randn(1, 3, 32, 32), torch.randn(1, 3, 32, 32)) == []
