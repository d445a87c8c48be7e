"""Keep weights and spec in ONE safetensors file: save, inspect, load, verify.

The file's metadata has one key, ``segserve``, with the canonical JSON of a ``CheckpointHeader``. Nothing in a
checkpoint is ever executed: the architecture is a name that is looked up in a fixed table, and tensors are bytes.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import BinaryIO

import safetensors
import safetensors.torch
import torch
from pydantic import ValidationError
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from model_zoo.architectures import build
from model_zoo.atomic import write_atomically
from model_zoo.card import SCHEMA_VERSION, Card, CheckpointHeader, Dtype
from model_zoo.container import BadCheckpoint, Container, TensorEntry, read_container
from model_zoo.selftest import TOLERANCE, changed_pixels, make_self_test
from model_zoo.spec import SHOWN, ModelSpec

__all__ = ["SUFFIX", "BadCheckpoint", "Checkpoint", "Inspection", "canonical_json", "inspect", "load", "save", "verify"]

METADATA_KEY = "segserve"
SUFFIX = ".safetensors"

_FILLING = frozenset({"normal_", "uniform_", "fill_", "zero_"})

_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
"""The names of what batch norm counts and training does not learn."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Hold a network in eval mode on the CPU in float32, and what its file says of it."""

    network: nn.Module
    header: CheckpointHeader


@dataclass(frozen=True, slots=True)
class Inspection:
    """Hold what can be known of a checkpoint without reading its weights."""

    header: CheckpointHeader
    num_parameters: int
    size_bytes: int


def save(path: Path, network: nn.Module, card: Card, *, dtype: Dtype = "float32") -> CheckpointHeader:
    """Write a checkpoint in one step: the file is there whole or not at all.

    With ``dtype="float16"`` the weights of two and more dimensions are halved; vectors, such as batch-norm
    statistics, stay float32. The self-test is made from the weights as they will be read back.

    Raises:
        BadCheckpoint: the network's tensors are not those of the card's spec, are tied, or hold NaN or infinity, or its
            scores do; or the card's words are no UTF-8.
        OSError: the file cannot be written.
    """
    tensors = {key: _stored(value, dtype) for key, value in strip_prefixes(network.state_dict()).items()}
    for key, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise BadCheckpoint(f"{key} holds values that are not finite in {dtype}")
    try:
        blob = safetensors.torch.save(tensors)
    except RuntimeError as error:
        raise BadCheckpoint("tensors that share their memory cannot be saved; give each its own") from error
    length = int.from_bytes(blob[:8], "little")
    data = memoryview(blob)[8 + length :]
    entries = json.loads(blob[8 : 8 + length])
    listed = {name: TensorEntry.model_validate(entry, strict=False) for name, entry in entries.items()}
    network = _fill(_empty_network(card.spec, listed), tensors)
    header = CheckpointHeader(
        **dict(card),
        dtype=dtype,
        self_test=make_self_test(network, card.spec),
        sha256=hashlib.sha256(data).hexdigest(),
    )
    entries = {"__metadata__": {METADATA_KEY: _readable_json(header)}, **entries}
    encoded = json.dumps(entries, separators=(",", ":")).encode()
    encoded += b" " * (-len(encoded) % 8)
    write_atomically(path, [len(encoded).to_bytes(8, "little"), encoded, data])
    return header


def inspect(path: Path) -> Inspection:
    """Read a checkpoint's header alone; the time and memory do not depend on the weights.

    Raises:
        BadCheckpoint: the file is missing, is no safetensors file of this project, or does not hold together.
    """
    with _opened(path) as file:
        container, header = _read_header(file)
        learned = [entry for name, entry in container.tensors.items() if not name.endswith(_STATISTICS)]
        size_bytes = os.fstat(file.fileno()).st_size
    return Inspection(header, sum(prod(entry.shape) for entry in learned), size_bytes)


def load(path: Path) -> Checkpoint:
    """Read a checkpoint, check its sha256 and rebuild its network, on the CPU, in float32, in eval mode.

    The tensors that the header lists are compared with those of the architecture before any weight is read.

    Raises:
        BadCheckpoint: as for ``inspect``; or the weights are not those of the architecture, or a byte has changed.
    """
    with _opened(path) as file:
        container, header = _read_header(file)
        network = _empty_network(header.spec, container.tensors)
        file.seek(0)
        blob = file.read()
        if hashlib.sha256(memoryview(blob)[container.start :]).hexdigest() != header.sha256:
            raise BadCheckpoint("the weights do not match the sha256 in the header; the file is damaged")
        return Checkpoint(_fill(network, safetensors.torch.load(blob)), header)


def verify(path: Path) -> Checkpoint:
    """Load a checkpoint and run its self-test.

    Raises:
        BadCheckpoint: as for ``load``; or the network does not answer as it did when it was saved, or not at all.
    """
    checkpoint = load(path)
    test = checkpoint.header.self_test
    with _naming(path):
        try:
            changed = changed_pixels(checkpoint.network, checkpoint.header.spec, test)
        except BadCheckpoint:
            raise
        except (RuntimeError, ValueError) as error:
            raise BadCheckpoint("self-test failed, the network cannot run on what its spec feeds it") from error
        if changed > TOLERANCE * test.height * test.width:
            raise BadCheckpoint(f"self-test failed, {changed} of {test.height * test.width} pixels changed class")
    return checkpoint


def canonical_json(header: CheckpointHeader) -> str:
    """Give a header's JSON as a checkpoint holds it: the same bytes for the same header."""
    return json.dumps(header.model_dump(mode="json"), sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def strip_prefixes(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Take away the prefixes that DistributedDataParallel and torch.compile put before every name."""
    return {key.removeprefix("module.").removeprefix("_orig_mod."): value for key, value in state.items()}


def _stored(tensor: Tensor, dtype: Dtype) -> Tensor:
    tensor = tensor.detach().cpu()
    if tensor.is_floating_point():
        tensor = tensor.half() if dtype == "float16" and tensor.ndim > 1 else tensor.float()
    return tensor.contiguous()


def _readable_json(header: CheckpointHeader) -> str:
    """Give the header's JSON once it reads back; words with bytes that are no UTF-8 do not."""
    text = canonical_json(header)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        around = text[max(0, error.start - SHOWN // 2) : error.start]
        raise BadCheckpoint(f"the card's words are no UTF-8 after {around!r}") from error
    _parse_header(text)
    return text


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Put the file's name before what is wrong with it."""
    try:
        yield
    except BadCheckpoint as error:
        raise BadCheckpoint(f"{path}: {error}") from error
    except (OSError, safetensors.SafetensorError) as error:
        reason = error.strerror if isinstance(error, OSError) else None
        raise BadCheckpoint(f"{path}: {reason or 'cannot be read'}") from error


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    with _naming(path):
        if path.exists() and not path.is_file():  # opening a pipe would wait for somebody who writes
            raise BadCheckpoint("is no regular file; name a checkpoint file")
        with path.open("rb") as file:
            yield file


def _read_header(file: BinaryIO) -> tuple[Container, CheckpointHeader]:
    container = read_container(file, size_bytes=os.fstat(file.fileno()).st_size)
    if METADATA_KEY not in container.metadata:
        raise BadCheckpoint(f"a safetensors file, but not one of this project (no {METADATA_KEY!r} metadata)")
    return container, _parse_header(container.metadata[METADATA_KEY])


def _parse_header(text: str) -> CheckpointHeader:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadCheckpoint(f"the {METADATA_KEY!r} metadata is not JSON") from error
    newest = found.get("schema_version") if isinstance(found, dict) else None
    if isinstance(newest, int) and newest > SCHEMA_VERSION:
        raise BadCheckpoint(f"schema version {newest} is newer than {SCHEMA_VERSION}; update segserve")
    try:
        return CheckpointHeader.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise BadCheckpoint(f"header field {where[:SHOWN]}: {first['msg'][:200]}") from error


def _empty_network(spec: ModelSpec, tensors: Mapping[str, TensorEntry]) -> nn.Module:
    """Build a network without allocating it, and compare names, shapes and kinds of its tensors with those listed."""
    try:
        with torch.device("meta"), _Unfilled():
            network = build(spec.architecture, spec.num_classes, spec.arguments)
    except ValueError as error:
        raise BadCheckpoint(str(error)) from error
    wanted = network.state_dict()
    for complaint, names in (
        ("misses", wanted.keys() - tensors.keys()),
        ("has tensors unknown to the architecture,", tensors.keys() - wanted.keys()),
    ):
        if names:
            listed = ", ".join(name[:SHOWN] for name in sorted(names)[:3])
            raise BadCheckpoint(f"{spec.architecture} checkpoint {complaint} {listed} ({len(names)} in all)")
    for name, value in wanted.items():
        entry, shape = tensors[name], tuple(value.shape)
        if entry.shape != shape:
            raise BadCheckpoint(f"{name} has shape {list(entry.shape)}, {spec.architecture} needs {list(shape)}")
        if entry.is_floating_point != value.is_floating_point():
            raise BadCheckpoint(f"{name} is stored as {entry.dtype}, {spec.architecture} needs {value.dtype}")
    return network


class _Unfilled(TorchFunctionMode):
    """Leave out what gives weights their first numbers: on ``meta`` memory torch takes seconds to do nothing of it."""

    def __torch_function__(  # torch's signature
        self,
        func: Callable[..., object],
        types: Sequence[type],
        args: Sequence[object] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        """Do what is asked for, unless it is to fill a tensor."""
        named = dict(kwargs or {})
        if func.__name__ in _FILLING:
            return args[0] if args else named["tensor"]
        return func(*args, **named)


def _fill(network: nn.Module, tensors: Mapping[str, Tensor]) -> nn.Module:
    """Put tensors that were checked into an empty network."""
    full = {key: value.float() if value.is_floating_point() else value for key, value in tensors.items()}
    network.load_state_dict(full, strict=True, assign=True)
    return network.eval()
