"""Read and write the tensors of the Open Inference Protocol, in JSON or as bytes behind it.

A body may begin with JSON, whose length a header tells, and go on with the bytes of all tensors that say a
``binary_data_size``: of UINT8 one a value, of BYTES four that say how long an element is, the lowest first, and then
the element. In JSON alone, elements of BYTES are base64. Letters: N images, H and W height and width.
"""

from __future__ import annotations

import json
from base64 import b64decode
from binascii import Error as BadBase64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, FailFast, Field, JsonValue, ValidationError

from service.errors import InvalidRequest
from service.images import Pixels
from service.masks.encoder import Mask

IMAGE = "image"
MASK = "mask"
CONFIDENCE = "confidence"
OUTPUTS = (MASK, CONFIDENCE)
_CHANNELS = 3
_LENGTH_BYTES = 4
"""How many bytes say how long an element of BYTES is."""

_MOST_JSON_VALUES = 2_000_000
"""Each takes a hundred bytes while it is read, and nobody else gets a turn."""

_MOST_IMAGES = 1024
"""As many as ``max_images_per_request`` may allow."""

Side = Annotated[int, Field(le=1 << 40)]
"""A number that is quick to multiply and to write, whatever a client sends."""


class Tensor(BaseModel):
    """Describe a tensor, with its values unless they follow as bytes."""

    name: str = Field(examples=[IMAGE])
    shape: Annotated[list[Side], FailFast(), Field(max_length=4, examples=[[1]])]
    datatype: str = Field(examples=["BYTES"])
    parameters: dict[str, JsonValue] = {}
    data: list[JsonValue] | None = Field(default=None, examples=[["/9j/4AAQSkZJRg=="]])


class WantedOutput(BaseModel):
    """Name a tensor of the answer; its parameter ``binary_data`` says whether it shall come as bytes."""

    name: str = Field(examples=[MASK])
    parameters: dict[str, JsonValue] = {}


class InferRequest(BaseModel):
    """Hold the JSON of a request."""

    # What is extra is refused by read_request, at the first: pydantic would tell of every single one
    model_config = ConfigDict(extra="allow", json_schema_extra={"additionalProperties": False})

    id: str | None = Field(default=None, examples=["42"])
    inputs: Annotated[list[Tensor], FailFast(), Field(max_length=16)]
    outputs: Annotated[list[WantedOutput], FailFast(), Field(max_length=16)] = []
    parameters: dict[str, JsonValue] = Field(default={}, description="the options of POST /segment, by their names")


class InferAnswer(BaseModel):
    """Hold the JSON of an answer."""

    model_name: str = Field(examples=["voc"])
    model_version: str = Field(examples=["1"])
    id: str | None = None
    outputs: list[Tensor]


def read_request(body: bytes, json_bytes: int | None) -> tuple[InferRequest, list[bytes | Pixels]]:
    """Read a request and its images, files or pixels; ``json_bytes`` is the length of its JSON if more follows.

    Raises:
        InvalidRequest: It is not what the protocol, or this service, has.
    """
    if json_bytes is not None and not 0 <= json_bytes <= len(body):
        raise InvalidRequest(f"Inference-Header-Content-Length is {json_bytes}, the body has {len(body)} bytes")
    head, rest = body[:json_bytes], b"" if json_bytes is None else body[json_bytes:]
    if head.count(b",") > _MOST_JSON_VALUES:
        raise InvalidRequest(f"the JSON holds more than {_MOST_JSON_VALUES} values; pixels may follow it as bytes")
    try:
        request = InferRequest.model_validate_json(head)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(str(part)[:50] for part in first["loc"]) or "its syntax"
        raise InvalidRequest(f"the JSON is wrong in {where}") from error
    for name in request.model_extra or ():
        raise InvalidRequest(f"the JSON is wrong in {name[:50]}")
    if [tensor.name for tensor in request.inputs] != [IMAGE]:
        found = ", ".join(repr(tensor.name[:50]) for tensor in request.inputs) or "none"
        raise InvalidRequest(f"the inputs are {found}; there has to be one, named {IMAGE!r}")
    for output in request.outputs:
        if output.name not in OUTPUTS:
            raise InvalidRequest(f"unknown output {output.name[:50]!r}, there are {', '.join(OUTPUTS)}")
    return request, _read_images(request.inputs[0], rest)


def _read_images(tensor: Tensor, rest: bytes) -> list[bytes | Pixels]:
    size = tensor.parameters.get("binary_data_size")
    if size is None and tensor.data is None:
        raise InvalidRequest(f"tensor {IMAGE!r} has neither data nor binary_data_size")
    if size is not None and size != len(rest):
        raise InvalidRequest(f"binary_data_size of {IMAGE!r} is {size!r}, {len(rest)} bytes follow the JSON"[:200])
    if any(side < 0 for side in tensor.shape):
        raise InvalidRequest(f"shape of {IMAGE!r} is {_shown(tensor.shape)}, it cannot be below 0")
    if tensor.shape and tensor.shape[0] > _MOST_IMAGES and len(tensor.shape) in {1, 2, 4}:
        raise InvalidRequest(
            f"shape of {IMAGE!r} is {_shown(tensor.shape)}, at most {_MOST_IMAGES} images may come at once"
        )
    match tensor.datatype:
        case "BYTES":
            return list(_read_files(tensor, None if size is None else rest))
        case "UINT8":
            return list(_read_pixels(tensor, None if size is None else rest))
    raise InvalidRequest(f"datatype of {IMAGE!r} is {tensor.datatype[:20]!r}, allowed are BYTES and UINT8")


def _read_files(tensor: Tensor, rest: bytes | None) -> Iterator[bytes]:
    """Give the elements of BYTES, each an image file."""
    elements = list(_decoded(tensor.data or [])) if rest is None else list(_cut(rest))
    if prod(tensor.shape) != len(elements):
        raise InvalidRequest(f"shape of {IMAGE!r} is {_shown(tensor.shape)}, it has {len(elements)} elements")
    yield from elements


def _decoded(data: Sequence[JsonValue]) -> Iterator[bytes]:
    for place, element in enumerate(data):
        try:
            yield b64decode(element, validate=True)  # type: ignore[arg-type]  # what is no text is refused here
        except (BadBase64, TypeError, ValueError) as error:
            raise InvalidRequest(f"element {place} of {IMAGE!r} is no base64") from error


def _cut(rest: bytes) -> Iterator[bytes]:
    start = number = 0
    while start < len(rest):
        number += 1
        if number > _MOST_IMAGES:
            raise InvalidRequest(f"more than {_MOST_IMAGES} elements of {IMAGE!r} follow the JSON")
        begin = start + _LENGTH_BYTES
        end = begin + int.from_bytes(rest[start:begin], "little")
        if end > len(rest) or begin > len(rest):
            raise InvalidRequest(f"an element of {IMAGE!r} ends at byte {end}, {len(rest)} bytes follow the JSON")
        yield rest[begin:end]
        start = end


def _read_pixels(tensor: Tensor, rest: bytes | None) -> Iterator[Pixels]:
    """Give the RGB images of UINT8 ``[H, W, 3]`` or ``[N, H, W, 3]``."""
    shape = tuple(tensor.shape)
    if len(shape) not in {3, 4} or shape[-1] != _CHANNELS or 0 in shape:
        raise InvalidRequest(f"shape of {IMAGE!r} is {_shown(shape)}, UINT8 has [H, W, 3] or [N, H, W, 3]")
    num_values = prod(shape)
    found = len(tensor.data or []) if rest is None else len(rest)
    if found != num_values:
        raise InvalidRequest(f"shape of {IMAGE!r} is {_shown(shape)}, {num_values} values, but {found} came")
    values = np.frombuffer(rest, np.uint8) if rest is not None else _numbers(tensor.data or [])
    yield from map(Pixels, values.reshape(-1, *shape[-3:]))


def _numbers(data: Sequence[JsonValue]) -> Mask:
    try:
        return np.frombuffer(bytes(data), np.uint8)  # type: ignore[arg-type]  # what is no list of bytes is refused here
    except (TypeError, ValueError) as error:
        raise InvalidRequest(f"the data of {IMAGE!r} are not one flat list of whole numbers from 0 to 255") from error


@dataclass(frozen=True, slots=True)
class Written:
    """Hold the body of an answer, and the length of its JSON if more follows."""

    content: bytes
    json_bytes: int | None


def write_answer(request: InferRequest, outputs: Mapping[str, Mask], *, model: str, version: str) -> Written:
    """Write the outputs that a request wants, ``[N, H, W]`` each, in its order, or all of them if it names none."""
    wanted = request.outputs or [WantedOutput(name=name) for name in outputs]
    all_binary = bool(request.parameters.get("binary_data_output"))
    tensors, rest = [], []
    for output in wanted:
        values = outputs[output.name]
        tensor: dict[str, Any] = {"name": output.name, "shape": list(values.shape), "datatype": "UINT8"}
        if output.parameters.get("binary_data", all_binary):
            tensor["parameters"] = {"binary_data_size": values.nbytes}
            rest.append(values.tobytes())
        else:
            tensor["data"] = values.ravel().tolist()
        tensors.append(tensor)
    answer = {"model_name": model, "model_version": version, "outputs": tensors}
    head = json.dumps(answer if request.id is None else {**answer, "id": request.id}, separators=(",", ":")).encode()
    return Written(b"".join((head, *rest)), len(head) if rest else None)


def _shown(shape: Sequence[int]) -> str:
    return str(list(shape))[:100]
