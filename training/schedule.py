"""Choose which weights learn at which rate, and how the rate falls over a run."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.nn import Parameter

from training.recipe import Recipe


def learning_rate_factor(step: int, total_steps: int, *, power: float, warmup_steps: int) -> float:
    """Give what the rates are multiplied with at a step, counted from 0: a linear rise, then a polynomial fall.

    It reaches 0 at ``total_steps``, one after the last step, so that every step learns something.
    """
    fall = math.pow(max(0.0, 1 - step / total_steps), power)
    return fall * min(1.0, (step + 1) / (warmup_steps + 1))


def make_optimizer(network: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """Make the recipe's optimizer over all weights that may learn."""
    groups = list(parameter_groups(network, recipe))
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=recipe.lr, momentum=recipe.momentum)
    return torch.optim.AdamW(groups, lr=recipe.lr, fused=True)


def set_learning_rates(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Set every group's rate to its initial one times ``factor``."""
    for group in optimizer.param_groups:
        group["lr"] = group["initial_lr"] * factor


def parameter_groups(network: nn.Module, recipe: Recipe) -> Iterator[dict[str, Any]]:
    """Split the weights into encoder and rest, and each into those that decay and those that do not.

    Vectors, which are biases and norms, do not decay; nor do transposed convolutions, whose bilinear interpolation
    decay would fade.
    """
    encoder = getattr(network, "encoder", None)
    in_encoder = {id(weight) for weight in encoder.parameters()} if isinstance(encoder, nn.Module) else set()
    transposed = {
        id(module.weight) for module in network.modules() if isinstance(module, nn.ConvTranspose2d)
    }  # fmt: skip
    split: dict[tuple[float, float], list[Parameter]] = {}
    for weight in network.parameters():
        if not weight.requires_grad:
            continue
        rate = recipe.encoder_lr if id(weight) in in_encoder and recipe.encoder_lr is not None else recipe.lr
        decays = weight.ndim > 1 and id(weight) not in transposed
        split.setdefault((rate, recipe.weight_decay if decays else 0.0), []).append(weight)
    for (rate, decay), weights in split.items():
        yield {"params": weights, "lr": rate, "initial_lr": rate, "weight_decay": decay}
