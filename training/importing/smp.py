"""Read the folders that ``save_pretrained`` of segmentation-models-pytorch writes.

https://github.com/qubvel-org/segmentation_models.pytorch; the package itself is not needed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

from model_zoo.backbones import DEPTH, build_encoder
from training.errors import InvalidImport
from training.importing.files import read_tensors
from training.importing.fitting import fitted, misfit, wanted_tensors
from training.importing.foreign import Foreign
from training.importing.smp_config import SmpConfig, read_config
from training.importing.smp_names import smp_name

CONFIG = "config.json"
WEIGHTS = ("model.safetensors", "pytorch_model.bin")
"""Where the weights lie, now and in old folders; the first that is there counts."""
CLASSIFIER = "classification_head."


def read_smp(folder: Path) -> Foreign:
    """Find the network of a folder in this zoo, and give it the folder's weights.

    A network of one class answers by the sign of its only score; ours has two classes, and scores the first with zero.
    The classification head that a network may have beside its masks is left behind.

    Raises:
        InvalidImport: a file is missing or damaged, the zoo has no such network, or the weights are not the network's.
    """
    config = read_config(folder / CONFIG)
    with _naming(folder / CONFIG):
        wanted = wanted_tensors(config.architecture, config.classes, config.arguments())
    weights = _read_weights(weights_path(folder), config, wanted)
    return Foreign(
        architecture=config.architecture,
        arguments=config.arguments(),
        num_classes=max(2, config.classes),
        weights=_with_background(weights) if config.classes == 1 else weights,
        origin=_origin(config),
        input=config.encoder.input,
    )


def weights_path(folder: Path) -> Path:
    """Find the file of a folder's weights.

    Raises:
        InvalidImport: there is none.
    """
    for name in WEIGHTS:
        if (folder / name).is_file():
            return folder / name
    raise InvalidImport(f"{folder}: has neither {' nor '.join(WEIGHTS)}")


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Put the file's name before what is wrong with it."""
    try:
        yield
    except InvalidImport as error:
        raise InvalidImport(f"{path}: {error}") from error


def _read_weights(path: Path, config: SmpConfig, wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Read the wanted tensors, which have other names in the file."""
    theirs = {name: smp_name(name, config.architecture, config.encoder) for name in wanted}
    wanted_there = {theirs[name]: tensor for name, tensor in wanted.items()}
    tensors = _without_unused(read_tensors(path), config)
    with _naming(path):
        wrong = misfit(tensors, wanted_there)
        if wrong:
            raise InvalidImport(f"{config.model_class} on {config.encoder_name} {wrong}")
        found = fitted(tensors, wanted_there)
    return {name: found[theirs[name]] for name in wanted}


def _without_unused(tensors: Mapping[str, Tensor], config: SmpConfig) -> dict[str, Tensor]:
    """Leave out what takes no part in the mask: a classification head, and the layers below a shallow encoder."""
    unused = _unused_layers(config)
    has_classifier = config.aux_params is not None
    return {
        name: tensor
        for name, tensor in tensors.items()
        if name not in unused and not (has_classifier and name.startswith(CLASSIFIER))
    }


def _unused_layers(config: SmpConfig) -> set[str]:
    """Name the weights of the layers that a whole encoder has and this one, for its depth, does not run."""
    encoder = config.encoder
    with torch.device("meta"):
        whole, used = (
            build_encoder(encoder.name, late_maps=encoder.late_maps, depth=depth).state_dict()
            for depth in (DEPTH, config.encoder_depth)
        )
    names = whole.keys() - used.keys()
    return {f"encoder.{encoder.rename(name.removeprefix('features.'))}" for name in names}


def _with_background(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Put a class before the only one, whose score is always zero: softmax over both is the sigmoid of the one."""
    scores = {name: tensor for name, tensor in weights.items() if name.startswith("score.")}
    return {**weights, **{name: torch.cat([torch.zeros_like(tensor), tensor]) for name, tensor in scores.items()}}


def _origin(config: SmpConfig) -> str:
    notes = {
        "one class, with a background put before it": config.classes == 1,
        "without its classification head": config.aux_params is not None,
    }
    told = ", ".join(note for note, holds in notes.items() if holds)
    return f"segmentation-models-pytorch's {config.model_class} on {config.encoder_name}{f' ({told})' if told else ''}"
