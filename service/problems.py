"""Answer every error with a problem body (RFC 9457)."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response
from starlette.types import Scope

from service.errors import InvalidRequest, ServiceError, ShuttingDown
from service.logs import request_id

log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
PROTOCOL_PREFIX = "/v2/"
"""Where the Open Inference Protocol is spoken, which has a shape of its own for errors."""


class Problem(BaseModel):
    """Say what went wrong (RFC 9457); ``type`` is the stable name to test for, ``detail`` is for people."""

    type: str = Field(examples=["urn:problem-type:segserve:unreadable-image"])
    title: str = Field(examples=["The image cannot be read"])
    status: int = Field(examples=[422])
    detail: str = Field(examples=["this JPEG is damaged or cut short (5120 bytes)"])
    request_id: str | None = Field(default=None, examples=["0d1f6e0c6a0b4c0f9d6d1b0c5f0e7a11"])


def add_problem_handlers(app: FastAPI) -> None:
    """Answer the service's errors and the framework's own in one manner; what is unexpected is the middleware's."""
    app.add_exception_handler(ServiceError, _on_service_error)
    app.add_exception_handler(RequestValidationError, _on_invalid_request)
    app.add_exception_handler(HTTPException, _on_http_error)


def problem_response(error: ServiceError) -> Response:
    """Give the answer to an error."""
    problem = problem_of(error)
    headers = {} if error.retry_after is None else {"Retry-After": str(error.retry_after)}
    if error.status in {408, 413} or isinstance(error, ShuttingDown):
        headers["Connection"] = "close"  # or the rest of the body, or more requests, would be waited for
    if error.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return Response(problem.model_dump_json(), error.status, headers, MEDIA_TYPE)


def error_response(error: ServiceError, scope: Scope) -> Response:
    """Give the answer to an error, in the shape of the protocol that a request speaks, and note its kind there."""
    scope.setdefault("state", {})["problem"] = error.slug
    return _as_asked(scope["path"], problem_response(error), error.detail)


def problem_of(error: ServiceError) -> Problem:
    """Say what went wrong; what is our fault is logged with its cause."""
    if error.status == 500:
        log.error("request failed", exc_info=error, extra={"problem": error.slug})
    return Problem(
        type=f"urn:problem-type:segserve:{error.slug}",
        title=error.title,
        status=error.status,
        detail=error.detail,
        request_id=request_id.get(),
    )


def unexpected_response(path: str) -> Response:
    """Give the answer to an error that nobody foresaw, with nothing private in it."""
    detail = "the service failed; its log says why"
    return _as_asked(path, _response("about:blank", "Internal Server Error", status=500, detail=detail), detail)


def document_problems(*errors: type[ServiceError]) -> dict[int | str, dict[str, Any]]:
    """Describe errors for the OpenAPI document, by status."""
    titles: dict[int, list[str]] = {}
    for error in errors:
        titles.setdefault(error.status, []).append(error.title)
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {status: {"description": " · ".join(told), "content": content} for status, told in sorted(titles.items())}


def _response(
    type_: str, title: str, *, status: int, detail: str, headers: Mapping[str, str] | None = None
) -> Response:
    body = Problem(type=type_, title=title, status=status, detail=detail, request_id=request_id.get())
    return Response(body.model_dump_json(), status, headers, MEDIA_TYPE)


async def _on_service_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ServiceError)
    return error_response(error, request.scope)


def _as_asked(path: str, response: Response, detail: str) -> Response:
    """Give an answer to an error in the shape of the protocol that was spoken."""
    if not path.startswith(PROTOCOL_PREFIX):
        return response
    kept = {name: value for name, value in response.headers.items() if name not in {"content-type", "content-length"}}
    return JSONResponse({"error": detail}, response.status_code, kept)


async def _on_invalid_request(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    kind, *names = (str(part)[:50] for part in first["loc"])
    name = " ".join(names)
    if first["type"] == "extra_forbidden":
        problem = InvalidRequest(f"unknown {kind} option {name!r}; the API's page /docs lists them")
    else:
        problem = InvalidRequest(f"{kind} option {name} is {repr(first['input'])[:50]}: {first['msg']}")
    return await _on_service_error(request, problem)


async def _on_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    title = HTTPStatus(error.status_code).phrase
    detail = f"{request.method} {request.url.path[:200]}: {title.lower()}"
    response = _response("about:blank", title, status=error.status_code, detail=detail, headers=error.headers)
    return _as_asked(request.url.path, response, detail)
