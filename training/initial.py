"""Build the network of a recipe and give it the weights that it begins with."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from tqdm import tqdm  # type: ignore[import-untyped]  # tqdm has no stubs

from model_zoo import checkpoint
from model_zoo.architectures import build
from model_zoo.architectures.fcn import FCN
from model_zoo.backbones import Encoder
from model_zoo.pretrained import load_encoder_weights
from model_zoo.spec import ModelSpec
from training.depthwise import keep_depthwise_float32, undilate_depthwise
from training.errors import InvalidRecipe
from training.processes import Processes
from training.provenance import weights_path
from training.recipe import SMALLEST_CROP, Recipe

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
SHOWN = 3
FEW_IMAGES = 4
"""Over fewer images, the statistics of batch norm are too noisy to learn from."""


@dataclass(frozen=True, slots=True)
class WarmStart:
    """Say which tensors of another checkpoint were taken, which begin anew, and which were left behind."""

    taken: tuple[str, ...]
    new: tuple[str, ...]
    dropped: tuple[str, ...]

    def __str__(self) -> str:
        """Say it in a line."""
        return (
            f"{len(self.taken)} tensors taken, {len(self.new)} begin anew{_some(self.new)}, "
            f"{len(self.dropped)} left behind{_some(self.dropped)}"
        )


def make_network(recipe: Recipe, spec: ModelSpec) -> nn.Module:
    """Build the recipe's network, with the weights loaded and the layers frozen that it says.

    Raises:
        InvalidRecipe: the architecture cannot be built so, or the weights are missing or do not fit.
    """
    try:
        network = build(spec.architecture, spec.num_classes, spec.arguments)
    except ValueError as error:
        raise InvalidRecipe(str(error)) from error
    if recipe.device == "cpu":
        undilate_depthwise(network)
        if recipe.precision == "bfloat16":
            keep_depthwise_float32(network)
    if recipe.init_from is not None:
        tqdm.write(f"{recipe.init_from}: {warm_start(network, Path(recipe.init_from), spec)}")
    if recipe.encoder_weights is not None:
        _load_encoder(network, recipe)
    if recipe.encoder_lr is not None:
        _encoder_of(network, recipe, "encoder_lr")
    if recipe.freeze_encoder:
        _encoder_of(network, recipe, "freeze_encoder").freeze()
    if recipe.frozen_stages:
        _freeze_stages(_encoder_of(network, recipe, "frozen_stages"), recipe.frozen_stages)
    return network


def train_mode(network: nn.Module, *, freeze_norms: bool) -> nn.Module:
    """Switch a network to training; with ``freeze_norms`` every batch norm keeps statistics and weights as they are."""
    network.train()
    if freeze_norms:
        for module in network.modules():
            if isinstance(module, NORMS):
                module.eval().requires_grad_(requires_grad=False)
    return network


def starve_warning(network: nn.Module, recipe: Recipe, processes: Processes) -> str | None:
    """Say what is wrong where batch norm learns from too few images at once, if anything is."""
    images = recipe.batch_size // (processes.count * recipe.accumulate)
    learns = any(isinstance(module, NORMS) and module.training for module in network.modules())
    if images >= FEW_IMAGES or not learns:
        return None
    return (
        f"batch norm sees {images} images at once, {FEW_IMAGES} or more are better: a larger batch_size, a smaller "
        "accumulate, or freeze_norms"
    )


def try_step(network: nn.Module, recipe: Recipe, spec: ModelSpec, *, num_images: int) -> None:
    """Show a copy of the network the smallest crops and batches that it will learn from.

    Raises:
        InvalidRecipe: it cannot learn from them.
    """
    device = next(network.parameters()).device
    channels, side = len(spec.input.mean), recipe.crop or SMALLEST_CROP
    try:
        with torch.no_grad():
            copy.deepcopy(network)(torch.zeros(num_images, channels, side, side, device=device))
    except (RuntimeError, ValueError) as error:
        raise InvalidRecipe(
            f"{recipe.architecture} cannot learn from {num_images} images of {side}x{side} px and {channels} channels: "
            f"{str(error).splitlines()[0]}"
        ) from error


def warm_start(network: nn.Module, path: Path, spec: ModelSpec) -> WarmStart:
    """Begin with the tensors of a checkpoint that have the same name and shape.

    What a stage adds begins as its layer does: FCN's new scores at zero, so that FCN-16s first gives what the scores of
    FCN-32s give, and FCN-8s what those of FCN-16s give (Long et al. 2015, section 4.2).

    Raises:
        InvalidRecipe: the file is no checkpoint; or of the same classes, but a tensor has another shape; or less than
            half of the network's tensors are in it.
    """
    try:
        before = checkpoint.load(path)
    except checkpoint.BadCheckpoint as error:
        raise InvalidRecipe(f"init_from: {error}") from error
    source, wanted = before.network.state_dict(), network.state_dict()
    shared = source.keys() & wanted.keys()
    misshapen = sorted(name for name in shared if source[name].shape != wanted[name].shape)
    if misshapen and before.header.spec.classes == spec.classes:
        name = misshapen[0]
        theirs, ours = list(source[name].shape), list(wanted[name].shape)
        raise InvalidRecipe(f"init_from: {path} has {name} of shape {theirs}, {spec.architecture} needs {ours}")
    taken = sorted(shared.difference(misshapen))
    if 2 * len(taken) < len(wanted):
        raise InvalidRecipe(
            f"init_from: {path} ({before.header.spec.architecture}) has {len(taken)} of the {len(wanted)} tensors of "
            f"{spec.architecture}, less than half"
        )
    found = WarmStart(tuple(taken), _missing(wanted, taken), _missing(source, taken))
    network.load_state_dict({**wanted, **{name: source[name] for name in taken}})
    return found


def _missing(tensors: Mapping[str, Tensor], taken: list[str]) -> tuple[str, ...]:
    return tuple(sorted(tensors.keys() - set(taken)))


def _load_encoder(network: nn.Module, recipe: Recipe) -> None:
    assert recipe.encoder_weights is not None  # asked by the caller
    encoder = _encoder_of(network, recipe, "encoder_weights")
    path = weights_path(recipe.encoder_weights)
    try:
        load_encoder_weights(encoder, path)
        if recipe.head_from_classifier:
            if not isinstance(network, FCN):
                raise InvalidRecipe(f"head_from_classifier: {recipe.architecture} has no head of that kind, only FCN")
            network.load_head_from_classifier(path)
    except ValueError as error:
        raise InvalidRecipe(str(error)) from error


def _freeze_stages(encoder: Encoder, stages: int) -> None:
    if stages > len(encoder.taps):
        raise InvalidRecipe(f"frozen_stages {stages} is above {len(encoder.taps)}, the maps that the encoder has")
    if encoder.frozen_layers:  # by the network itself; to freeze fewer would let the others count again
        raise InvalidRecipe(f"frozen_stages {stages} and the argument freeze_encoder exclude each other")
    encoder.freeze(stages)


def _encoder_of(network: nn.Module, recipe: Recipe, field: str) -> Encoder:
    encoder = getattr(network, "encoder", None)
    if not isinstance(encoder, Encoder):
        raise InvalidRecipe(f"{field}: {recipe.architecture} has no encoder")
    return encoder


def _some(names: tuple[str, ...]) -> str:
    if not names:
        return ""
    return f" ({', '.join(names[:SHOWN])}{', ...' * (len(names) > SHOWN)})"
