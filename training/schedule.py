"""Choose which weights learn at which rate, and how the rate changes over a run."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import Parameter

from training.recipe import Recipe

ONE_CYCLE_RISE = 0.3
ONE_CYCLE_START = 1 / 25
ONE_CYCLE_END = 4e-6


def learning_rate_factor(step: int, total_steps: int, recipe: Recipe) -> float:
    """Give what the rates are multiplied with at a step, counted from 0: a linear rise, then the schedule's fall.

    ``poly`` and ``cosine`` (Loshchilov and Hutter 2016, https://arxiv.org/abs/1608.03983) reach the floor at
    ``total_steps``, one after the last step, so that every step learns something.
    """
    if recipe.schedule == "one_cycle":
        return _one_cycle(step, total_steps, rise=recipe.warmup_steps or max(1, ONE_CYCLE_RISE * total_steps - 1))
    left = max(0.0, 1 - step / total_steps)
    match recipe.schedule:
        case "poly":
            fall = math.pow(left, recipe.power)
        case "cosine":
            fall = (1 - math.cos(math.pi * left)) / 2
        case _:
            fall = 1.0
    warmup = min(1.0, (step + 1) / (recipe.warmup_steps + 1))
    return (recipe.lr_floor + (1 - recipe.lr_floor) * fall) * warmup


def _one_cycle(step: int, total_steps: int, *, rise: float) -> float:
    """Rise and fall along cosines (Smith and Topin 2017, https://arxiv.org/abs/1708.07120), as torch's OneCycleLR."""
    if step < rise:
        start, end, share = ONE_CYCLE_START, 1.0, step / rise
    else:
        start, end, share = 1.0, ONE_CYCLE_END, min(1.0, (step - rise) / max(1.0, total_steps - 1 - rise))
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2


def make_optimizer(network: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """Make the recipe's optimizer over all weights that may learn."""
    groups = list(parameter_groups(network, recipe))
    match recipe.optimizer:
        case "sgd":
            return torch.optim.SGD(groups, lr=recipe.lr, momentum=recipe.momentum)
        case "adam":
            return torch.optim.Adam(groups, lr=recipe.lr, fused=True)
        case _:
            return torch.optim.AdamW(groups, lr=recipe.lr, fused=True)


def averaging_decay(step: int, recipe: Recipe) -> float:
    """Give the decay of the averaged weights at a step, counted from 0: less at first, or random weights would linger.

    As TensorFlow's ``ExponentialMovingAverage`` with ``num_updates``: about the last ninth of the steps counts, until
    the recipe's decay is reached.
    """
    return min(recipe.ema_decay, (1 + step) / (10 + step))


def set_learning_rates(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Set every group's rate to its initial one times ``factor``."""
    for group in optimizer.param_groups:
        group["lr"] = group["initial_lr"] * factor


def parameter_groups(network: nn.Module, recipe: Recipe) -> Iterator[dict[str, Any]]:
    """Split the weights by rate and decay: in which part, bias of a convolution or not, decaying or not.

    Vectors, which are biases and norms, do not decay unless the recipe says ``decay = "all"``; transposed convolutions
    never do: it would fade their bilinear interpolation.
    """
    rates = {}
    for part, rate in (("encoder", recipe.encoder_lr), ("auxiliary", recipe.auxiliary_lr)):
        module = getattr(network, part, None)
        if rate is not None and isinstance(module, nn.Module):
            rates.update(dict.fromkeys(_ids(module.parameters()), rate))
    mixing = [module for module in network.modules() if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear)]
    biases = _ids(module.bias for module in mixing if module.bias is not None)
    transposed = _ids(module.weight for module in mixing if isinstance(module, nn.ConvTranspose2d))
    split: dict[tuple[float, float], list[Parameter]] = {}
    for weight in network.parameters():
        if not weight.requires_grad:
            continue
        rate = rates.get(id(weight), recipe.lr) * (recipe.bias_lr_factor if id(weight) in biases else 1.0)
        decays = (weight.ndim > 1 or recipe.decay == "all") and id(weight) not in transposed
        split.setdefault((rate, recipe.weight_decay if decays else 0.0), []).append(weight)
    for (rate, decay), weights in split.items():
        yield {"params": weights, "lr": rate, "initial_lr": rate, "weight_decay": decay}


def _ids(weights: Iterable[Tensor]) -> set[int]:
    return {id(weight) for weight in weights}
