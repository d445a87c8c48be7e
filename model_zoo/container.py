"""Read what stands before the tensors of a safetensors file, trusting nothing of it.

The format: 8 bytes that hold the length of a JSON header, the header, and then the data section, which the tensors fill
from its first byte to its last. See https://github.com/huggingface/safetensors#format.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Annotated, Any, BinaryIO, Literal

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from model_zoo.spec import SHOWN, Frozen

MAX_HEADER_BYTES = 16 << 20

_BYTES_PER_VALUE = {"F32": 4, "F16": 2, "BF16": 2, "I64": 8}


class BadCheckpoint(ValueError):
    """A file is no checkpoint that this version can use; the message names what does not fit."""


class TensorEntry(Frozen):
    """Say where a tensor lies in the data section, and what it is."""

    model_config = ConfigDict(strict=True)

    dtype: Literal["F32", "F16", "BF16", "I64"]
    shape: tuple[Annotated[int, Field(ge=0, le=1 << 40)], ...] = Field(max_length=8)
    data_offsets: tuple[Annotated[int, Field(ge=0, le=1 << 50)], Annotated[int, Field(ge=0, le=1 << 50)]]

    @property
    def is_floating_point(self) -> bool:
        """Whether the values are weights and not counters."""
        return self.dtype != "I64"

    @property
    def fits(self) -> bool:
        """Whether the bytes are as many as the shape needs."""
        begin, end = self.data_offsets
        return end - begin == prod(self.shape) * _BYTES_PER_VALUE[self.dtype]


@dataclass(frozen=True, slots=True)
class Container:
    """Hold the header of a safetensors file; ``start`` is where its data section begins."""

    metadata: Mapping[str, str]
    tensors: Mapping[str, TensorEntry]
    start: int


def read_container(file: BinaryIO, *, size_bytes: int) -> Container:
    """Read the header of an open file of that size; time and memory do not depend on the data section.

    Raises:
        BadCheckpoint: the file is no safetensors file, or its header does not describe the bytes that are there.
    """
    length = int.from_bytes(file.read(8), "little")
    if size_bytes < 8 or length > size_bytes - 8:
        raise BadCheckpoint(f"not a safetensors file, or cut short ({size_bytes} bytes)")
    if length > MAX_HEADER_BYTES:
        raise BadCheckpoint(f"header is {length} bytes, at most {MAX_HEADER_BYTES}")
    entries = _parse(file.read(length))
    metadata = entries.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise BadCheckpoint("not a safetensors file, its metadata is not text by name")
    tensors = {name: _entry(name, fields) for name, fields in entries.items()}
    _check_filled(tensors, size_bytes - 8 - length)
    return Container(metadata, tensors, 8 + length)


def _parse(header: bytes) -> dict[str, Any]:
    try:
        entries = json.loads(header.decode())
    except (ValueError, RecursionError) as error:
        raise BadCheckpoint("not a safetensors file, its header is not JSON") from error
    if not isinstance(entries, dict):
        raise BadCheckpoint("not a safetensors file, its header is not an object")
    return entries


_ENTRY = TypeAdapter(TensorEntry)


def _entry(name: str, fields: object) -> TensorEntry:
    try:
        entry = _ENTRY.validate_json(json.dumps(fields))  # JSON has no tuples, which strict validation asks for
    except (ValidationError, ValueError, RecursionError) as error:
        raise BadCheckpoint(f"tensor {name[:SHOWN]!r} has no proper dtype, shape and offsets") from error
    if not entry.fits:
        begin, end = entry.data_offsets
        raise BadCheckpoint(f"tensor {name[:SHOWN]!r} of shape {list(entry.shape)} does not fit {end - begin} bytes")
    return entry


def _check_filled(tensors: Mapping[str, TensorEntry], data_bytes: int) -> None:
    """Refuse gaps and overlaps: each tensor begins where the one before ends."""
    spans = sorted(entry.data_offsets for entry in tensors.values())
    begins = [*(begin for begin, _ in spans), data_bytes]
    ends = [0, *(end for _, end in spans)]
    if begins != ends:
        raise BadCheckpoint(f"tensors do not fill the {data_bytes} bytes of weights; the file is cut or damaged")
