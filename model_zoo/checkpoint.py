"""Keep weights and spec in ONE safetensors file: save, inspect, load, verify.

The file's metadata has one key, ``segserve``, with the canonical JSON of a ``CheckpointHeader``. Nothing in a
checkpoint is ever executed: the architecture is a name that is looked up in a fixed table, and tensors are bytes.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

import safetensors.torch
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from model_zoo.architectures import build
from model_zoo.card import SCHEMA_VERSION, Card, CheckpointHeader, Dtype
from model_zoo.selftest import TOLERANCE, changed_pixels, make_self_test
from model_zoo.spec import ModelSpec

METADATA_KEY = "segserve"
SUFFIX = ".safetensors"
MAX_HEADER_BYTES = 16 << 20
_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
"""The names of what batch norm counts and training does not learn."""

_BYTES_PER_VALUE = {"F32": 4, "F16": 2, "BF16": 2, "I64": 8}


class BadCheckpoint(ValueError):
    """A file is no checkpoint that this version can use; the message names what does not fit."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Hold a network in eval mode on the CPU in float32, and what its file says of it."""

    network: nn.Module
    header: CheckpointHeader


@dataclass(frozen=True, slots=True)
class Inspection:
    """Hold what can be known of a checkpoint without reading its weights."""

    header: CheckpointHeader
    shapes: Mapping[str, tuple[int, ...]]
    num_parameters: int
    size_bytes: int


def save(path: Path, network: nn.Module, card: Card, *, dtype: Dtype = "float32") -> CheckpointHeader:
    """Write a checkpoint in one step: the file is there whole or not at all.

    With ``dtype="float16"`` the weights of two and more dimensions are halved; vectors, such as batch-norm
    statistics, stay float32. The self-test is made from the weights as they will be read back.

    Raises:
        BadCheckpoint: the network's tensors are not those of the card's spec, are tied, or hold NaN or infinity.
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
    _check_shapes(card.spec, {key: tuple(value.shape) for key, value in tensors.items()}, path)
    header = CheckpointHeader(
        **dict(card),
        dtype=dtype,
        self_test=make_self_test(_network(card.spec, tensors), card.spec),
        sha256=hashlib.sha256(data).hexdigest(),
    )
    entries = {"__metadata__": {METADATA_KEY: _canonical_json(header)}, **json.loads(blob[8 : 8 + length])}
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
        return _inspect(file, path)


def load(path: Path) -> Checkpoint:
    """Read a checkpoint, check its sha256 and rebuild its network, on the CPU, in float32, in eval mode.

    The shapes of the header are compared with those of the architecture before any weight is read.

    Raises:
        BadCheckpoint: as for ``inspect``; or the weights are not those of the architecture, or a byte has changed.
    """
    with _opened(path) as file:
        inspection = _inspect(file, path)
        _check_shapes(inspection.header.spec, inspection.shapes, path)
        file.seek(0)
        blob = file.read()
    start = 8 + int.from_bytes(blob[:8], "little")
    if hashlib.sha256(memoryview(blob)[start:]).hexdigest() != inspection.header.sha256:
        raise BadCheckpoint(f"{path}: the weights do not match the sha256 in the header; the file is damaged")
    tensors = safetensors.torch.load(blob)
    return Checkpoint(_network(inspection.header.spec, tensors), inspection.header)


def verify(path: Path) -> Checkpoint:
    """Load a checkpoint and run its self-test.

    Raises:
        BadCheckpoint: as for ``load``; or the network does not answer as it did when it was saved, or not at all.
    """
    checkpoint = load(path)
    test = checkpoint.header.self_test
    try:
        changed = changed_pixels(checkpoint.network, checkpoint.header.spec, test)
    except (RuntimeError, ValueError) as error:
        raise BadCheckpoint(f"{path}: self-test failed, the network cannot run on what its spec feeds it") from error
    if changed > TOLERANCE * test.height * test.width:
        raise BadCheckpoint(f"{path}: self-test failed, {changed} of {test.height * test.width} pixels changed class")
    return checkpoint


def strip_prefixes(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Take away the prefixes that DistributedDataParallel and torch.compile put before every name."""
    return {key.removeprefix("module.").removeprefix("_orig_mod."): value for key, value in state.items()}


def write_atomically(path: Path, parts: Sequence[bytes | memoryview]) -> None:
    """Write a file so that, whatever happens, ``path`` is either as it was or complete and on the disk.

    Raises:
        OSError: the folder cannot be written, or the disk is full; ``path`` is as it was.
    """
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.writelines(parts)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _stored(tensor: Tensor, dtype: Dtype) -> Tensor:
    tensor = tensor.detach().cpu()
    if tensor.is_floating_point():
        tensor = tensor.half() if dtype == "float16" and tensor.ndim > 1 else tensor.float()
    return tensor.contiguous()


def _canonical_json(header: CheckpointHeader) -> str:
    return json.dumps(header.model_dump(mode="json"), sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _opened(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        raise BadCheckpoint(f"{path}: {error.strerror or 'cannot be opened'}") from error


def _inspect(file: BinaryIO, path: Path) -> Inspection:
    size_bytes = os.fstat(file.fileno()).st_size
    entries, data_bytes = _read_entries(file, path, size_bytes)
    header = _parse_header(entries.pop("__metadata__", None), path)
    shapes = _parse_shapes(entries, data_bytes, path)
    learned = (prod(shape) for name, shape in shapes.items() if not name.endswith(_STATISTICS))
    return Inspection(header, shapes, sum(learned), size_bytes)


def _read_entries(file: BinaryIO, path: Path, size_bytes: int) -> tuple[dict[str, Any], int]:
    """Read the JSON before the weights; give it and the number of bytes behind it."""
    length = int.from_bytes(file.read(8), "little")
    if size_bytes < 8 or length > size_bytes - 8:
        raise BadCheckpoint(f"{path}: not a safetensors file, or cut short ({size_bytes} bytes)")
    if length > MAX_HEADER_BYTES:
        raise BadCheckpoint(f"{path}: header is {length} bytes, at most {MAX_HEADER_BYTES}")
    try:
        entries = json.loads(file.read(length))
    except (ValueError, RecursionError) as error:
        raise BadCheckpoint(f"{path}: not a safetensors file, its header is not JSON") from error
    if not isinstance(entries, dict):
        raise BadCheckpoint(f"{path}: not a safetensors file, its header is not an object")
    return entries, size_bytes - 8 - length


def _parse_header(metadata: object, path: Path) -> CheckpointHeader:
    text = metadata.get(METADATA_KEY) if isinstance(metadata, dict) else None
    if not isinstance(text, str):
        raise BadCheckpoint(f"{path}: a safetensors file, but not one of this project (no {METADATA_KEY!r} metadata)")
    try:
        found = json.loads(text)
        newest = found.get("schema_version") if isinstance(found, dict) else None
        if isinstance(newest, int) and newest > SCHEMA_VERSION:
            raise BadCheckpoint(f"{path}: schema version {newest} is newer than {SCHEMA_VERSION}; update segserve")
        return CheckpointHeader.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise BadCheckpoint(f"{path}: header field {where}: {first['msg']}") from error
    except (json.JSONDecodeError, RecursionError) as error:
        raise BadCheckpoint(f"{path}: the {METADATA_KEY!r} metadata is not JSON") from error


def _parse_shapes(entries: Mapping[str, Any], data_bytes: int, path: Path) -> dict[str, tuple[int, ...]]:
    """Give the shape of every tensor; together they must fill the data section without gap or overlap."""
    shapes: dict[str, tuple[int, ...]] = {}
    spans: list[tuple[int, int]] = []
    for name, entry in entries.items():
        try:
            shape = tuple(int(side) for side in entry["shape"])
            begin, end = entry["data_offsets"]
            fits = min(shape, default=0) >= 0 and end - begin == prod(shape) * _BYTES_PER_VALUE[entry["dtype"]]
        except (KeyError, TypeError, ValueError) as error:
            raise BadCheckpoint(f"{path}: tensor {name!r} has no proper dtype, shape and offsets") from error
        if not fits:
            raise BadCheckpoint(f"{path}: tensor {name!r} of shape {list(shape)} does not fit {end - begin} bytes")
        shapes[name] = shape
        spans.append((begin, end))
    spans.sort()
    ends = [0, *(end for _, end in spans)]
    if ends[-1] != data_bytes or any(begin != end for (begin, _), end in zip(spans, ends, strict=False)):
        raise BadCheckpoint(
            f"{path}: tensors do not fill the {data_bytes} bytes of weights; the file is cut or damaged"
        )
    return shapes


def _check_shapes(spec: ModelSpec, shapes: Mapping[str, tuple[int, ...]], path: Path) -> None:
    """Compare tensor names and shapes with those of the architecture, without allocating it."""
    try:
        with torch.device("meta"):
            wanted = {key: tuple(value.shape) for key, value in _build(spec).state_dict().items()}
    except ValueError as error:
        raise BadCheckpoint(f"{path}: {error}") from error
    for complaint, names in (
        ("misses", wanted.keys() - shapes.keys()),
        ("has tensors unknown to the architecture,", shapes.keys() - wanted.keys()),
    ):
        if names:
            listed = ", ".join(sorted(names)[:3])
            raise BadCheckpoint(f"{path}: {spec.architecture} checkpoint {complaint} {listed} ({len(names)} in all)")
    for key, shape in wanted.items():
        if shapes[key] != shape:
            raise BadCheckpoint(f"{path}: {key} has shape {list(shapes[key])}, {spec.architecture} needs {list(shape)}")


def _network(spec: ModelSpec, tensors: Mapping[str, Tensor]) -> nn.Module:
    """Rebuild the network around tensors whose names and shapes were checked."""
    with torch.device("meta"):
        network = _build(spec)
    full = {key: value.float() if value.is_floating_point() else value for key, value in tensors.items()}
    network.load_state_dict(full, strict=True, assign=True)
    return network.eval()


def _build(spec: ModelSpec) -> nn.Module:
    return build(spec.architecture, spec.num_classes, spec.arguments)
