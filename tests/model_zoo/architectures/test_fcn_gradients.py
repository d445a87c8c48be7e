from __future__ import annotations

import math
from typing import Literal

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model_zoo.architectures.fcn import FCN, FCN8s, Fusion, ScoreActivation, ScoreInit

NUM_CLASSES = 21


def small_fcn8s(
    *,
    decoder: Literal["score", "wide"] = "score",
    score_init: ScoreInit = "zero",
    score_activation: ScoreActivation = "none",
) -> FCN8s:
    torch.manual_seed(0)
    return FCN8s(
        NUM_CLASSES,
        head_kernel=1,
        head_width=512,
        drop_rate=0,
        decoder=decoder,
        score_init=score_init,
        score_activation=score_activation,
    )


def train(network: nn.Module, *, steps: int = 3, rate: float = 0.05) -> list[float]:
    """Fit one batch, and give the loss before each step; the gradients of the last step stay."""
    torch.manual_seed(1)
    images, target = torch.randn(2, 3, 32, 32), torch.randint(NUM_CLASSES, (2, 32, 32))
    target[:, :16] = 3
    optimizer = torch.optim.SGD(network.parameters(), lr=rate)
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = F.cross_entropy(network(images).logits, target)
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        optimizer.step()
        losses.append(loss.item())
    return losses


def score_of(network: FCN) -> nn.Conv2d:
    assert isinstance(network.score, nn.Conv2d)
    return network.score


def fusions_of(network: FCN) -> list[Fusion]:
    return [fusion for fusion in network.fusions if isinstance(fusion, Fusion)]


def branches_of(network: FCN) -> list[nn.Module]:
    """Give what first sees pool5, pool4 and pool3; in a wide decoder the latter are added to upsampled features."""
    fusions = fusions_of(network)
    return [
        network.score,
        *(fusion.up if isinstance(fusion.score, nn.Identity) else fusion.score for fusion in fusions),
    ]


def has_gradient(module: nn.Module) -> bool:
    return any(p.grad is not None and bool(p.grad.any()) for p in module.parameters())


def test_row_8_and_trap_25_scores_that_start_at_zero_train() -> None:
    network = small_fcn8s()

    losses = train(network, steps=4)

    assert losses[0] == pytest.approx(math.log(NUM_CLASSES), abs=1e-5)
    assert losses[-1] < losses[0] - 0.05
    assert has_gradient(network.encoder)
    assert has_gradient(network.fc6)


def test_row_8_and_trap_25_two_zero_layers_in_a_row_are_dead() -> None:
    network = small_fcn8s()
    coarse = (score_of(network), fusions_of(network)[0].up)
    for layer in coarse:
        nn.init.zeros_(layer.weight)

    losses = train(network)

    assert losses[-1] < losses[0]
    assert has_gradient(fusions_of(network)[0].score)
    assert not any(has_gradient(layer) for layer in coarse)


def test_row_8_fc7_and_scores_that_both_start_at_zero_leave_the_coarse_branch_dead() -> None:
    network = small_fcn8s(score_init="zero_twice")

    losses = train(network)
    gradient = score_of(network).weight.grad

    assert losses[-1] < losses[0]
    assert has_gradient(fusions_of(network)[0].score)
    assert gradient is not None
    assert not gradient.any()
    assert not has_gradient(network.fc7)
    assert not has_gradient(network.fc6)


def test_row_8_zero_scores_before_norm_and_relu_leave_the_skips_dead() -> None:
    network = small_fcn8s(score_activation="norm_relu")

    losses = train(network)

    assert losses[-1] < losses[0]
    assert has_gradient(network.fc7)
    assert [has_gradient(fusion.score) for fusion in fusions_of(network)] == [False, False]


@pytest.mark.parametrize("decoder", ["score", "wide"])
def test_scores_that_start_at_random_learn_through_norm_and_relu(decoder: Literal["score", "wide"]) -> None:
    network = small_fcn8s(decoder=decoder, score_init="he", score_activation="norm_relu")

    train(network)

    assert [has_gradient(fusion.score) for fusion in fusions_of(network)] == [True, True]


def test_row_8_zero_scores_before_norm_and_relu_everywhere_never_learn() -> None:
    network = small_fcn8s(score_activation="norm_relu_all")

    losses = train(network, steps=3, rate=1.0)

    assert losses == pytest.approx([math.log(21)] * 3, abs=1e-6)


@pytest.mark.parametrize("after", [nn.Sequential(nn.ReLU()), nn.Sequential(nn.BatchNorm2d(21), nn.ReLU())])
def test_row_8_and_trap_25_a_relu_after_zero_scores_is_dead(after: nn.Sequential) -> None:
    network = small_fcn8s()
    network.score = nn.Sequential(network.score, *after)  # the fault under test

    losses = train(network)

    assert losses[-1] < losses[0]
    assert has_gradient(fusions_of(network)[0].score)
    assert not has_gradient(network.score)
    assert not has_gradient(network.fc7)


def test_row_8_and_trap_25_zero_scores_with_relu_everywhere_never_learn() -> None:
    network = small_fcn8s()
    network.score = nn.Sequential(network.score, nn.ReLU())  # the fault under test
    for fusion in fusions_of(network):
        fusion.score = nn.Sequential(fusion.score, nn.ReLU())

    losses = train(network, steps=3, rate=1.0)

    assert losses == pytest.approx([math.log(21)] * 3, abs=1e-6)


@pytest.mark.parametrize("decoder", ["score", "wide"])
@pytest.mark.parametrize("score_init", ["zero", "he"])
def test_row_6_every_branch_has_a_gradient_at_the_first_step(
    decoder: Literal["score", "wide"], score_init: Literal["zero", "he"]
) -> None:
    network = small_fcn8s(decoder=decoder, score_init=score_init)

    train(network, steps=1)
    first = [has_gradient(branch) for branch in branches_of(network)]
    train(network, steps=1)

    assert first == [True, True, True]
    assert has_gradient(network.encoder.features[0])
    assert has_gradient(network.encoder.features[28])


def test_trap_25_class_scores_can_be_negative_in_every_branch() -> None:
    network = small_fcn8s(score_init="he").eval()
    scores: list[Tensor] = []
    for layer in (network.score, *(fusion.score for fusion in fusions_of(network)), *fusions_of(network)):
        layer.register_forward_hook(lambda _module, _inputs, output: scores.append(output))

    with torch.inference_mode():
        network(torch.randn(1, 3, 64, 64))

    assert len(scores) == 5
    assert all(score.min() < 0 for score in scores)
