"""Turn somebody else's weights into a checkpoint of this project, or leave nothing behind."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import TypeAdapter, ValidationError
from torch import nn

from model_zoo import checkpoint
from model_zoo.architectures import build
from model_zoo.card import Card, CheckpointHeader, Dtype, InitialWeights, Training
from model_zoo.checkpoint import BadCheckpoint
from model_zoo.labels import VOC_CLASSES
from model_zoo.spec import ModelSpec, Name
from training.complaints import first_complaint, shown
from training.datasets import LabelSpace
from training.environment import hide_homes
from training.errors import InvalidImport
from training.importing.classes import named_classes, voc_classes
from training.importing.files import read_tensors
from training.importing.foreign import Foreign
from training.importing.plain import SpecFile, read_plain, read_spec
from training.importing.smp import read_smp, weights_path
from training.importing.torchvision import ORIGIN, read_torchvision
from training.provenance import code_commit
from training.targets import check_target


@dataclass(frozen=True, slots=True)
class Wishes:
    """Say what the file of weights does not: what its checkpoint shall be called, and how it shall be stored."""

    spec: Path | None = None
    classes: str | None = None
    name: str | None = None
    description: str = ""
    licence: str = "unknown"
    dtype: Dtype = "float32"
    overwrite: bool = False
    command: str | None = None


@dataclass(frozen=True, slots=True)
class Imported:
    """Say what was imported; ``is_voc_assumed`` where nobody named the classes."""

    header: CheckpointHeader
    origin: str
    num_parameters: int
    is_voc_assumed: bool


def import_checkpoint(source: Path, out: Path, wishes: Wishes) -> Imported:
    """Read ``source``, find out what network it is, and write ``out``.

    Raises:
        InvalidOption: ``out`` cannot or shall not be written.
        InvalidImport: the file is of no known kind, or its tensors fit no network; or the names do not fit it.
        BadCheckpoint: the weights cannot be stored so.
        OSError: a file is missing, or cannot be written.
    """
    name = wishes.name or out.stem
    check_target(out, option="--out", suffix=checkpoint.SUFFIX, sources=_files_of(source), overwrite=wishes.overwrite)
    _check_name(name)
    spec_file = read_spec(wishes.spec) if wishes.spec else SpecFile()
    labels = named_classes(wishes.classes, spec_file)
    foreign = _read(source, spec_file, labels)
    spec = _spec(foreign, spec_file, labels or _assumed(foreign, spec_file))
    card = Card(
        name=name,
        description=f"{wishes.description} Imported from {foreign.origin}.".strip(),
        spec=spec,
        training=Training(
            commit=code_commit(),
            command=hide_homes(wishes.command) if wishes.command else None,
            initial_weights=InitialWeights(name=source.absolute().name, sha256=_sha256(source), licence=wishes.licence),
        ),
    )
    network = _network(foreign)
    try:
        header = checkpoint.save(out, network, card, dtype=wishes.dtype)
    except BadCheckpoint:
        raise
    except (RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise InvalidImport(f"{spec.architecture} cannot run on what [input] and [size] give it: {reason}") from error
    num_parameters = sum(parameter.numel() for parameter in network.parameters())
    return Imported(header, foreign.origin, num_parameters, is_voc_assumed=labels is None)


def _files_of(source: Path) -> list[Path]:
    return [source, *source.iterdir()] if source.is_dir() else [source]


def _check_name(name: str) -> None:
    try:
        TypeAdapter(Name).validate_python(name)
    except ValidationError as error:
        raise InvalidImport(
            f"--name {shown(name)}: a name has at most 100 letters, digits, points, dashes and underscores"
        ) from error


def _read(source: Path, spec: SpecFile, labels: LabelSpace | None) -> Foreign:
    if spec.architecture is None and spec.arguments:
        raise InvalidImport("the spec file has arguments and no architecture that takes them")
    if spec.architecture is None and source.is_dir():
        return read_smp(source)
    if spec.architecture is not None and labels is None:
        raise InvalidImport("the classes have no names; list them in the spec file, or with --classes")
    tensors = read_tensors(source)
    if spec.architecture is None and _is_ours(source):
        raise InvalidImport(f"{source}: is a checkpoint of this project already; serve it as it is")
    try:
        if spec.architecture is not None and labels is not None:
            return read_plain(tensors, spec, num_classes=len(labels.classes))
        return read_torchvision(tensors)
    except InvalidImport as error:
        raise InvalidImport(f"{source}: {error}") from error


def _is_ours(source: Path) -> bool:
    try:
        checkpoint.inspect(source)
    except BadCheckpoint:
        return False
    return True


def _assumed(foreign: Foreign, file: SpecFile) -> LabelSpace:
    if foreign.num_classes != len(VOC_CLASSES) or not foreign.origin.startswith(ORIGIN):
        raise InvalidImport(
            f"{foreign.origin} has {foreign.num_classes} classes without names; name them with --classes a,b,c, or a "
            "file of one name a line"
        )
    return voc_classes(file)


def _spec(foreign: Foreign, file: SpecFile, labels: LabelSpace) -> ModelSpec:
    if foreign.num_classes == 1:
        raise InvalidImport(f"{foreign.origin} has one class, which would be that of every pixel; 2 or more would do")
    if len(labels.classes) != foreign.num_classes:
        raise InvalidImport(f"{len(labels.classes)} class names for {foreign.origin} of {foreign.num_classes} classes")
    try:
        return ModelSpec(
            architecture=foreign.architecture,
            arguments=foreign.arguments,
            classes=labels.classes,
            palette=labels.palette,
            label_space=labels.name,
            input=file.input or foreign.input,
            size=file.size or foreign.size,
        )
    except ValidationError as error:
        raise InvalidImport(first_complaint(error)) from error


def _network(foreign: Foreign) -> nn.Module:
    with torch.device("meta"):
        network = build(foreign.architecture, foreign.num_classes, foreign.arguments)
    network.load_state_dict(foreign.weights, strict=True, assign=True)
    return network.eval()


def _sha256(source: Path) -> str:
    with (weights_path(source) if source.is_dir() else source).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
