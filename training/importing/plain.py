"""Read weights that have the names of this zoo, with a file that says what network they are of."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path

from pydantic import Field, ValidationError
from torch import Tensor

from model_zoo.spec import Argument, ClassName, Color, Frozen, InputRule, Name, SizeRule
from training.complaints import first_complaint, shown
from training.errors import InvalidImport
from training.importing.fitting import fitted, misfit, wanted_tensors
from training.importing.foreign import Foreign
from training.importing.texts import read_text


class SpecFile(Frozen):
    """Say what a file of weights does not: the network, what its classes are called, and how images reach it.

    Without an ``architecture``, the rest is said of a network that is recognised by itself.
    """

    architecture: Name | None = None
    arguments: Mapping[str, Argument] = Field(default_factory=dict)
    classes: tuple[ClassName, ...] | None = None
    palette: tuple[Color, ...] | None = None
    label_space: Name | None = None
    input: InputRule | None = None
    size: SizeRule | None = None


def read_spec(path: Path) -> SpecFile:
    """Read a TOML file.

    Raises:
        InvalidImport: it is no file of TOML, or says what a spec cannot say.
        OSError: it is missing or may not be read.
    """
    try:
        values = tomllib.loads(read_text(path))
    except InvalidImport:
        raise
    except (ValueError, RecursionError) as error:  # for numbers of 5000 digits, and lists as deep
        raise InvalidImport(f"{path}: is no TOML: {shown(str(error))}") from error
    try:
        return SpecFile.model_validate(values)
    except ValidationError as error:
        raise InvalidImport(f"{path}: {first_complaint(error, known=SpecFile.model_fields)}") from error


def read_plain(tensors: Mapping[str, Tensor], spec: SpecFile, *, num_classes: int) -> Foreign:
    """Take weights as those of the network that the spec names.

    Raises:
        InvalidImport: there is no such network, or the weights are not its own.
    """
    assert spec.architecture is not None  # asked by the caller
    wanted = wanted_tensors(spec.architecture, num_classes, spec.arguments)
    wrong = misfit(tensors, wanted)
    if wrong:
        raise InvalidImport(f"the spec's {spec.architecture} of {num_classes} classes does not fit: the file {wrong}")
    return Foreign(
        architecture=spec.architecture,
        arguments=spec.arguments,
        num_classes=num_classes,
        weights=fitted(tensors, wanted),
        origin=f"weights of {spec.architecture}",
    )
