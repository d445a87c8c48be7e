"""Answer a picture with its mask."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Header, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from python_multipart.exceptions import FormParserError
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect

from service import errors
from service.admission import Priority
from service.dependencies import WithServices
from service.images import MEDIA_TYPES
from service.masks import ENCODERS
from service.masks.rle import RleAnswer
from service.negotiation import choose_encoder
from service.pipeline import Answer, Wish
from service.problems import document_problems
from service.settings import Settings

T = TypeVar("T")

router = APIRouter(tags=["segment"])

FIELD = "image"
_BINARY = {"schema": {"type": "string", "format": "binary"}}
_FORM = {"schema": {"type": "object", "required": [FIELD], "properties": {FIELD: _BINARY["schema"]}}}
_REQUEST_BODY = {
    "required": True,
    "content": {"multipart/form-data": _FORM, **dict.fromkeys(MEDIA_TYPES, _BINARY)},
}
_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The mask, of the size of the upright image.",
        "model": RleAnswer,
        "content": {"image/png": _BINARY},
        "headers": {
            "X-Model": {"description": "the model that made the mask", "schema": {"type": "string"}},
            "X-Model-Version": {"description": "its version", "schema": {"type": "string"}},
            "Server-Timing": {"description": "decode, queue, infer, encode in ms", "schema": {"type": "string"}},
        },
    },
    **document_problems(
        errors.UnknownModel, errors.NotAcceptable, errors.BodyTooSlow, errors.BodyTooLarge, errors.ImageTooLarge,
        errors.UnsupportedImage, errors.InvalidRequest, errors.UnreadableImage, errors.ForwardFailed, errors.QueueFull,
        errors.ModelNotReady, errors.ModelFailed, errors.NoRoom, errors.ShuttingDown, errors.OutOfMemory,
        errors.DeviceFailed, errors.DeadlineExceeded,
    ),
}  # fmt: skip


class Hurry(BaseModel):
    """Say in headers how soon an answer is needed."""

    model_config = ConfigDict(frozen=True)

    x_request_timeout: str | None = Field(default=None, description="seconds until the answer is of no use any more")
    x_priority: str | None = Field(default=None, description="interactive (the default) or bulk", examples=["bulk"])


@router.post("/segment", response_class=Response, responses=_RESPONSES, openapi_extra={"requestBody": _REQUEST_BODY})
async def segment(
    request: Request,
    services: WithServices,
    model: Annotated[str | None, Query(description="model, where it is not the default", examples=["voc"])] = None,
    output_format: Annotated[
        str | None, Query(alias="format", description=f"{' or '.join(ENCODERS)}; goes before Accept", examples=["png"])
    ] = None,
    hurry: Annotated[Hurry, Header()] = Hurry(),  # noqa: B008  # frozen
) -> Response:
    """Find the class of every pixel of an image.

    Send the image as the body, or as the field `image` of a form. The answer is a PNG whose pixel values are class
    ids or, with `format=rle` or `Accept: application/json`, one run-length encoding a class.
    """
    timeout = _choose_timeout(hurry.x_request_timeout, services.settings)
    wish = Wish(
        encoder=choose_encoder(output_format, ", ".join(request.headers.getlist("accept"))),
        timeout=timeout,
        deadline=asyncio.get_running_loop().time() + timeout,
        model=model,
        priority=_choose_priority(hurry.x_priority),
    )
    with services.pipeline.visit(wish) as found:
        data = await _read_body(request, deadline=wish.deadline, patience=services.settings.body_timeout)
        with found.admission.admit(wish.priority) as place:  # before the task starts, so that the next request sees it
            work = services.pipeline.segment(data, found, place, wish)
            answer = await _unless_client_goes(request, work)
    timing = {stage: round(1000 * seconds, 2) for stage, seconds in answer.seconds.items()}
    request.state.log_fields = {"model": answer.model, **{f"{stage}_ms": ms for stage, ms in timing.items()}}
    return Response(answer.content, media_type=answer.media_type, headers=_headers(answer, timing))


def _choose_timeout(asked: str | None, settings: Settings) -> float:
    """Read ``X-Request-Timeout``: seconds, up to the most that the settings allow."""
    if asked is None:
        return settings.request_timeout
    most = max(settings.max_request_timeout, settings.request_timeout)
    try:
        timeout = float(asked)
    except ValueError as error:
        raise errors.InvalidRequest(f"X-Request-Timeout is {asked[:50]!r}, not a number of seconds") from error
    if not 0 < timeout <= most:  # false for NaN, too
        raise errors.InvalidRequest(
            f"X-Request-Timeout is {timeout:g} s, allowed is more than 0 and at most {most:g} s"
        )
    return timeout


def _choose_priority(asked: str | None) -> Priority:
    if asked is None:
        return Priority.INTERACTIVE
    try:
        return Priority(asked.strip().lower())
    except ValueError as error:
        raise errors.InvalidRequest(f"X-Priority is {asked[:50]!r}, allowed are {', '.join(Priority)}") from error


def _headers(answer: Answer, timing: dict[str, float]) -> dict[str, str]:
    return {
        "X-Model": answer.model,
        "X-Model-Version": answer.version,
        "Server-Timing": ", ".join(f"{stage};dur={ms}" for stage, ms in timing.items()),
        "Vary": "Accept",
    }


async def _read_body(request: Request, *, deadline: float, patience: float) -> bytes:
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    patience = max(0.0, min(patience, deadline - asyncio.get_running_loop().time()))
    try:
        async with asyncio.timeout(patience):
            if media_type == "multipart/form-data":
                return await _read_form(request)
            if media_type in MEDIA_TYPES:
                return await request.body()
    except TimeoutError as error:
        raise errors.BodyTooSlow(f"the body had not arrived in full after {round(patience, 2):g} s") from error
    except ClientDisconnect as error:
        raise errors.ClientGone("the client hung up while it sent the body") from error
    allowed = ", ".join(("multipart/form-data", *MEDIA_TYPES))
    raise errors.UnsupportedImage(f"content type is {media_type[:100] or 'not given'}, allowed are {allowed}")


# Older Starlettes let their parser's own error through; all let through what a charset makes of a name.
_BROKEN_FORM = (MultiPartException, FormParserError, UnicodeError, LookupError)


class _InMemoryParser(MultiPartParser):
    spool_max_size = 1 << 40  # the body is bounded already, so nothing goes to the disk
    max_file_size = spool_max_size  # its name in older Starlettes


async def _read_form(request: Request) -> bytes:
    parser = _InMemoryParser(request.headers, request.stream(), max_files=2, max_fields=2)
    try:
        form = await parser.parse()
    except _BROKEN_FORM as error:
        raise errors.InvalidRequest(f"the form cannot be read; it has to hold one file, named {FIELD!r}") from error
    try:
        names = [name for name, _ in form.multi_items()]
        file = form.get(FIELD)
        if file is None:
            found = ", ".join(repr(name[:50]) for name in names) or "nothing"
            raise errors.InvalidRequest(f"field {FIELD!r} is missing; the form holds {found}")
        if len(names) > 1:
            raise errors.InvalidRequest(f"the form holds {len(names)} fields, allowed is one, named {FIELD!r}")
        if not isinstance(file, UploadFile):
            raise errors.InvalidRequest(f"field {FIELD!r} is text; send it as a file, with a file name")
        return await file.read()
    finally:
        await form.close()


async def _unless_client_goes(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Give the work's result, or cancel it when the client hangs up."""
    working = asyncio.create_task(work)
    leaving = asyncio.create_task(_wait_for_disconnect(request))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise errors.ClientGone("the client hung up before its answer was ready")
    finally:
        leaving.cancel()
        working.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def _wait_for_disconnect(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
