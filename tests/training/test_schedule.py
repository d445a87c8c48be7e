import pytest
import torch
from torch import nn

from training.recipe import Recipe, read_recipe
from training.schedule import (
    averaging_decay,
    learning_rate_factor,
    make_optimizer,
    parameter_groups,
    set_learning_rates,
)


class Net(nn.Module):
    """Have one layer of each kind that is treated in its own way."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
        self.head = nn.Conv2d(4, 2, 1)
        self.upsample = nn.ConvTranspose2d(2, 2, 4, bias=False)


def quick(**changes: object) -> Recipe:
    return read_recipe("quick", changes)


def test_trap_44_every_step_learns_and_the_rate_ends_at_zero_one_after_the_last() -> None:
    factors = [learning_rate_factor(step, 10, quick(warmup_steps=0)) for step in range(11)]

    assert factors[0] == 1
    assert factors[9] == pytest.approx(0.1**0.9)
    assert factors[10] == 0
    assert factors == sorted(factors, reverse=True)


def test_trap_44_a_warm_up_rises_once_and_depends_on_the_step_alone() -> None:
    factors = [learning_rate_factor(step, 100, quick(power=1.0, warmup_steps=4)) for step in range(100)]

    assert factors[:5] == pytest.approx([0.2, 0.4 * 0.99, 0.6 * 0.98, 0.8 * 0.97, 0.96])
    assert factors[4:] == sorted(factors[4:], reverse=True)
    assert min(factors) > 0


def test_the_encoder_learns_at_its_own_rate_and_vectors_do_not_decay() -> None:
    net = Net()

    groups = list(parameter_groups(net, quick(lr=0.1, encoder_lr=0.01, weight_decay=0.5)))

    found = {id(weight): (group["lr"], group["weight_decay"]) for group in groups for weight in group["params"]}
    assert {name: found[id(weight)] for name, weight in net.named_parameters()} == {
        "encoder.0.weight": (0.01, 0.5),
        "encoder.0.bias": (0.01, 0.0),
        "encoder.1.weight": (0.01, 0.0),
        "encoder.1.bias": (0.01, 0.0),
        "head.weight": (0.1, 0.5),
        "head.bias": (0.1, 0.0),
        "upsample.weight": (0.1, 0.0),
    }


def test_without_a_rate_of_its_own_the_encoder_learns_as_the_rest() -> None:
    groups = list(parameter_groups(Net(), quick(lr=0.1, weight_decay=0.5)))

    assert {group["lr"] for group in groups} == {0.1}


def test_frozen_weights_are_in_no_group() -> None:
    net = Net()
    net.encoder.requires_grad_(requires_grad=False)

    weights = [weight for group in parameter_groups(net, quick()) for weight in group["params"]]

    assert len(weights) == 3


@pytest.mark.parametrize(("name", "kind"), [("sgd", torch.optim.SGD), ("adamw", torch.optim.AdamW)])
def test_rates_are_set_from_the_initial_ones(name: str, kind: type[torch.optim.Optimizer]) -> None:
    optimizer = make_optimizer(Net(), quick(optimizer=name, lr=0.2, encoder_lr=0.04))

    set_learning_rates(optimizer, 0.5)
    set_learning_rates(optimizer, 0.25)

    assert isinstance(optimizer, kind)
    assert sorted({group["lr"] for group in optimizer.param_groups}) == pytest.approx([0.01, 0.05])


@pytest.mark.parametrize("schedule", ["poly", "cosine", "one_cycle", "constant"])
@pytest.mark.parametrize("warmup_steps", [0, 5])
def test_no_schedule_leaves_0_to_1_and_every_step_learns(schedule: str, warmup_steps: int) -> None:
    recipe = quick(schedule=schedule, warmup_steps=warmup_steps)

    factors = [learning_rate_factor(step, 40, recipe) for step in range(40)]

    assert 0 < min(factors) <= max(factors) <= 1
    assert max(factors) > 0.8


def test_a_cosine_is_at_a_half_in_the_middle() -> None:
    assert learning_rate_factor(50, 100, quick(schedule="cosine", warmup_steps=0)) == pytest.approx(0.5)


@pytest.mark.parametrize("schedule", ["poly", "cosine"])
def test_a_floor_is_what_is_left_at_the_end(schedule: str) -> None:
    assert learning_rate_factor(100, 100, quick(schedule=schedule, lr_floor=0.01, warmup_steps=0)) == pytest.approx(
        0.01
    )


def test_one_cycle_is_torchs() -> None:
    weight = nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    torchs = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1.0, total_steps=101)
    recipe = quick(schedule="one_cycle", warmup_steps=0)

    found = []
    for _ in range(100):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        torchs.step()

    assert [learning_rate_factor(step, 101, recipe) for step in range(100)] == pytest.approx(found)


def test_auxiliary_heads_learn_at_their_own_rate() -> None:
    net = Net()
    net.add_module("auxiliary", nn.Linear(1, 1))

    groups = list(parameter_groups(net, quick(lr=0.1, auxiliary_lr=1.0, encoder_lr=0.01)))

    rates = {id(weight): group["lr"] for group in groups for weight in group["params"]}
    assert {rates[id(weight)] for name, weight in net.named_parameters() if name.startswith("auxiliary")} == {1.0}
    assert rates[id(net.head.weight)] == 0.1


def test_trap_41_biases_learn_at_twice_the_rate_and_do_not_decay() -> None:
    net = Net()

    groups = list(parameter_groups(net, quick(lr=0.1, bias_lr_factor=2, weight_decay=5e-4)))

    found = {id(weight): (group["lr"], group["weight_decay"]) for group in groups for weight in group["params"]}
    assert {name: found[id(weight)] for name, weight in net.named_parameters()} == {
        "encoder.0.weight": (0.1, 5e-4),
        "encoder.0.bias": (0.2, 0.0),
        "encoder.1.weight": (0.1, 0.0),
        "encoder.1.bias": (0.1, 0.0),
        "head.weight": (0.1, 5e-4),
        "head.bias": (0.2, 0.0),
        "upsample.weight": (0.1, 0.0),
    }


def test_everything_but_upsampling_decays_where_the_recipe_says_so() -> None:
    net = Net()

    groups = list(parameter_groups(net, quick(weight_decay=0.5, decay="all")))

    still = [weight for group in groups if not group["weight_decay"] for weight in group["params"]]
    assert still == [net.upsample.weight]


@pytest.mark.parametrize(
    ("name", "kind"), [("sgd", torch.optim.SGD), ("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW)]
)
def test_the_optimizer_is_the_one_that_is_named(name: str, kind: type[torch.optim.Optimizer]) -> None:
    assert type(make_optimizer(Net(), quick(optimizer=name))) is kind


def test_the_average_soon_forgets_the_weights_that_a_run_began_with() -> None:
    recipe = quick(ema_decay=0.9)

    decays = [averaging_decay(step, recipe) for step in range(200)]

    assert decays[:2] == [1 / 10, 2 / 11]
    assert decays == sorted(decays)
    assert decays[-1] == 0.9
