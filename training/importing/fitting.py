"""Hold tensors against those that an architecture needs: names and shapes first, and values once they fit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from model_zoo.architectures import build
from model_zoo.spec import Argument
from training.complaints import shown
from training.errors import InvalidImport
from training.importing.files import PREFIXES

COUNTER = "num_batches_tracked"
"""What batch norm counts; old files have none, and no network needs it to answer."""
VARIANCE = "running_var"
"""What batch norm divides by the root of."""
NAMED = 3
"""How many tensors a message names."""


@dataclass(frozen=True, slots=True)
class Misfit:
    """Name the tensors that are wanted and not there, are there and not wanted, or have another shape.

    ``advice`` says what may help, where anything is known to.
    """

    missing: tuple[str, ...]
    extra: tuple[str, ...]
    misshapen: tuple[str, ...]
    advice: str = ""

    def __bool__(self) -> bool:
        """Whether anything does not fit."""
        return bool(self.missing or self.extra or self.misshapen)

    def __str__(self) -> str:
        """Say it in a line, with the first few names of each kind."""
        kinds = (("misses", self.missing), ("has in excess", self.extra), ("has other shapes:", self.misshapen))
        said = [f"{word} {_some(names)}" for word, names in kinds if names]
        return "; ".join([*said, self.advice] if self.advice else said)


def wanted_tensors(architecture: str, num_classes: int, arguments: Mapping[str, Argument]) -> dict[str, Tensor]:
    """Give the tensors of a network by name, with shapes and without values.

    Raises:
        InvalidImport: no such network can be built.
    """
    try:
        with torch.device("meta"):
            return build(architecture, num_classes, arguments).state_dict()
    except ValueError as error:
        raise InvalidImport(str(error)) from error


def misfit(tensors: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> Misfit:
    """Compare names and shapes, looking at no value."""
    return Misfit(
        missing=tuple(name for name in wanted if name not in tensors and not name.endswith(COUNTER)),
        extra=tuple(name for name in tensors if name not in wanted),
        misshapen=tuple(
            f"{name} {list(tensors[name].shape)} in place of {list(value.shape)}"
            for name, value in wanted.items()
            if name in tensors and tensors[name].shape != value.shape
        ),
        advice=advice(tensors),
    )


def advice(tensors: Mapping[str, Tensor]) -> str:
    """Name the few tensors that lack the prefix of all others, as those of a loss beside a network do; or say nothing.

    A prefix is only taken off where all have it.
    """
    for prefix in PREFIXES:
        others = tuple(name for name in tensors if not name.startswith(prefix))
        if 0 < 2 * len(others) < len(tensors):
            return f"leave out {_some(others)}, since all others begin with {prefix}"
    return ""


def fitted(tensors: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give each wanted tensor memory of its own, floating point as float32; counters that are missing are zero.

    Raises:
        InvalidImport: weights are whole numbers, NaN or infinite, or variances are below zero.
    """
    return {
        name: _converted(name, tensors[name], like) if name in tensors else torch.zeros(like.shape, dtype=like.dtype)
        for name, like in wanted.items()
    }


def _converted(name: str, tensor: Tensor, like: Tensor) -> Tensor:
    if like.is_floating_point() and not tensor.is_floating_point():
        kind = str(tensor.dtype).removeprefix("torch.")
        raise InvalidImport(f"{name} holds {kind} numbers; weights are floating-point numbers")
    try:
        found = tensor.detach().to(like.dtype, copy=True, memory_format=torch.contiguous_format)
    except NotImplementedError as error:  # of types of less than eight bits
        kind, wanted = (str(dtype).removeprefix("torch.") for dtype in (tensor.dtype, like.dtype))
        raise InvalidImport(f"{name} holds {kind} numbers, which cannot be read as {wanted}") from error
    if not found.isfinite().all():
        count = int((~found.isfinite()).sum())
        raise InvalidImport(f"{name} holds {count} of {found.numel()} values that are NaN or infinite")
    if name.endswith(VARIANCE) and (found < 0).any():
        raise InvalidImport(f"{name} holds {int((found < 0).sum())} of {found.numel()} variances below zero")
    return found


def _some(names: tuple[str, ...]) -> str:
    listed = ", ".join(shown(name) for name in names[:NAMED])
    return listed if len(names) <= NAMED else f"{listed}, ... ({len(names)} in all)"
