"""Read the images of a request: its body, or the files of its form."""

from __future__ import annotations

import asyncio
from base64 import b64decode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Literal

from fastapi import Request
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from python_multipart.exceptions import FormParserError
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect

from service import errors
from service.images import MEDIA_TYPES

FIELD = "image"
FIELDS = "images"

_FORM = "multipart/form-data"
_JSON = "application/json"
_ANY_BYTES = ("application/octet-stream", "")
"""What says nothing of the body, which says itself what it is."""

_MOST_COMMAS = 100
"""Of a JSON body, which needs two; pydantic would tell of every single key that is wrong."""

_MOST_TEXT = 1 << 12
"""Bytes of a text field: it is refused anyway, but first decoded as its charset says, and some take quadratic time."""


class HfParameters(BaseModel):
    """Hold what clients of Hugging Face's task may ask for; the options of the query go further."""

    model_config = ConfigDict(extra="forbid")

    subtask: Literal["semantic"] | None = None


class HfRequest(BaseModel):
    """Hold an image in JSON, as clients of Hugging Face's image-segmentation task send it with parameters."""

    inputs: bytes = Field(description="the image in base64", examples=["/9j/4AAQSkZJRg=="])
    parameters: HfParameters | None = None

    @field_validator("inputs")
    @classmethod
    def _decode(cls, text: bytes) -> bytes:
        return b64decode(text, validate=True)


_BINARY = {"type": "string", "format": "binary"}
_FORM_DOCUMENT = {
    "schema": {
        "type": "object",
        "properties": {FIELD: _BINARY, FIELDS: {"type": "array", "items": _BINARY}},
        "oneOf": [{"required": [FIELD]}, {"required": [FIELDS]}],
    }
}
BODY_DOCUMENT = {
    "required": True,
    "content": {
        _FORM: _FORM_DOCUMENT,
        **{media_type: {"schema": _BINARY} for media_type in MEDIA_TYPES},
        _JSON: {"schema": {"$ref": "#/components/schemas/HfRequest"}},
    },
}
"""What the OpenAPI document says of the body."""


@dataclass(frozen=True, slots=True)
class Upload:
    """Hold the bytes of an image, and the name of its file if it has one."""

    data: bytes
    name: str | None = None


@dataclass(frozen=True, slots=True)
class Uploads:
    """Hold the images of a request; one alone is answered in another way than a list of one."""

    images: tuple[Upload, ...]
    are_listed: bool


async def read_images(request: Request, *, deadline: float, patience: float, most: int) -> Uploads:
    """Read the images before a deadline of the event loop's clock, within ``patience`` seconds.

    Raises:
        BodyTooSlow: They did not arrive in time.
        ClientGone: The client hung up.
        UnsupportedImage: The body is of another kind.
        InvalidRequest: It is a form without the fields that it should have, or with more than ``most`` images.
    """
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    async with body_in_time(deadline=deadline, patience=patience):
        if media_type == _FORM:
            return await _read_form(request, most)
        if media_type in (*MEDIA_TYPES, *_ANY_BYTES):
            return Uploads((Upload(await request.body()),), are_listed=False)
        if media_type == _JSON:
            return await asyncio.to_thread(_read_json, await request.body())
    raise errors.UnsupportedImage(
        f"content type is {media_type[:100]}, allowed are {', '.join((_FORM, *MEDIA_TYPES, _JSON))}"
    )


@asynccontextmanager
async def body_in_time(*, deadline: float, patience: float) -> AsyncIterator[None]:
    """Read a body before a deadline of the event loop's clock, within ``patience`` seconds.

    Raises:
        BodyTooSlow: It did not arrive in time.
        ClientGone: The client hung up.
    """
    patience = max(0.0, min(patience, deadline - asyncio.get_running_loop().time()))
    try:
        async with asyncio.timeout(patience):
            yield
    except TimeoutError as error:
        raise errors.BodyTooSlow(f"the body had not arrived in full after {round(patience, 2):g} s") from error
    except ClientDisconnect as error:
        raise errors.ClientGone("the client hung up while it sent the body") from error


_WANTED = "wanted is an object with the image in base64 as inputs, and maybe parameters with a subtask, semantic"


def _read_json(body: bytes) -> Uploads:
    if body.count(b",") > _MOST_COMMAS:
        raise errors.InvalidRequest(f"the JSON body has more than {_MOST_COMMAS} commas; {_WANTED}")
    try:
        return Uploads((Upload(HfRequest.model_validate_json(body).inputs),), are_listed=False)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(str(part)[:50] for part in first["loc"]) or "its syntax"
        raise errors.InvalidRequest(f"the JSON body is wrong in {where}; {_WANTED}") from error


# Older Starlettes let their parser's own error through; all let through what a charset makes of a name.
_BROKEN_FORM = (MultiPartException, FormParserError, UnicodeError, LookupError)


class _InMemoryParser(MultiPartParser):
    spool_max_size = 1 << 40  # the body is bounded already, so nothing goes to the disk
    max_file_size = spool_max_size  # its name in older Starlettes


async def _read_form(request: Request, most: int) -> Uploads:
    parser = _InMemoryParser(request.headers, request.stream(), max_files=most + 1, max_fields=2)
    parser.max_part_size = _MOST_TEXT  # older Starlettes have no argument for it
    try:
        form = await parser.parse()
    except _BROKEN_FORM as error:
        wanted = f"one file, named {FIELD!r}, or up to {most}, each named {FIELDS!r}"
        raise errors.InvalidRequest(f"the form cannot be read; it has to hold {wanted}") from error
    try:
        files = _files(form, most)
        images = tuple([Upload(await file.read(), file.filename) for file in files])
        return Uploads(images, are_listed=FIELDS in form)
    finally:
        await form.close()


def _files(form: FormData, most: int) -> list[UploadFile]:
    """Give the files of a form that holds one ``image``, or any number of ``images``, and nothing else."""
    items = form.multi_items()
    names = {name for name, _ in items}
    if len(names) > 1 or not names <= {FIELD, FIELDS}:
        found = ", ".join(repr(name[:50]) for name, _ in items) or "nothing"
        raise errors.InvalidRequest(f"the form holds {found}; allowed is one {FIELD!r}, or {FIELDS!r} repeated")
    if not items:
        raise errors.InvalidRequest(f"field {FIELD!r} is missing; the form holds nothing")
    limit = most if names == {FIELDS} else 1
    if len(items) > limit:
        raise errors.InvalidRequest(f"the form holds {len(items)} fields {items[0][0]!r}, at most {limit}")
    files = [file for _, file in items if isinstance(file, UploadFile)]
    if len(files) < len(items):
        raise errors.InvalidRequest(f"field {items[0][0]!r} is text; send it as a file, with a file name")
    return files
