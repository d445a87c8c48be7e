"""Speak the Open Inference Protocol, so that clients of KServe, Triton and others need no code of their own."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter, Header, Request, Response
from pydantic import BaseModel, Field, ValidationError

from model_zoo.segmentation import Wanted
from service.dependencies import WithServices
from service.errors import InvalidRequest, ServiceError
from service.masks.encoder import Encoder, LabelledMask
from service.pipeline import Answer, Wish
from service.routes.bodies import body_in_time
from service.routes.patience import unless_client_goes
from service.routes.wishes import Hurry, MaskOptions, make_wish
from service.tensors import CONFIDENCE, IMAGE, MASK, InferAnswer, InferRequest, Written, read_request, write_answer
from service.views import View

router = APIRouter(prefix="/v2", tags=["v2"])

JSON_LENGTH = "Inference-Header-Content-Length"
_NOT_OURS = frozenset({"binary_data_output", "priority", "timeout", "sequence_id", "sequence_start", "sequence_end"})
"""Parameters of the protocol, and of Triton's clients, that say nothing of the mask."""


class ServerMetadata(BaseModel):
    """Say what serves."""

    name: Literal["segserve"] = "segserve"
    version: str = Field(examples=["0.1.0"])
    extensions: list[str] = ["binary_tensor_data"]


class TensorMetadata(BaseModel):
    """Describe a tensor; -1 stands for any size."""

    name: str = Field(examples=[IMAGE])
    datatype: str = Field(examples=["BYTES"])
    shape: list[int] = Field(examples=[[-1]])


class ModelMetadata(BaseModel):
    """Describe a model. The image may also come as UINT8 ``[H, W, 3]`` or ``[N, H, W, 3]``, upright RGB."""

    name: str = Field(examples=["voc"])
    versions: list[str] = Field(examples=[["1"]])
    platform: Literal["pytorch_segserve"] = "pytorch_segserve"
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]


class ModelReady(BaseModel):
    """Say whether a model answers."""

    name: str = Field(examples=["voc"])
    ready: bool


class Trouble(BaseModel):
    """Say what went wrong, as the protocol does."""

    error: str


_TROUBLE: dict[int | str, dict[str, Any]] = {status: {"model": Trouble} for status in ("4XX", "5XX")}
_NOT_READY: dict[int | str, dict[str, Any]] = {**_TROUBLE, 503: {"model": ModelReady, "description": "Not ready"}}
_INFER: dict[str, Any] = {
    "response_class": Response,
    "responses": {**_TROUBLE, 200: {"model": InferAnswer, "description": "The masks, in JSON or as bytes behind it."}},
    "openapi_extra": {
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {"schema": {"$ref": "#/components/schemas/InferRequest"}},
                "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
            },
        }
    },
}


@router.get("")
async def describe_server(request: Request) -> ServerMetadata:
    """Describe the server."""
    return ServerMetadata(version=request.app.version)


@router.get("/health/live", response_class=Response, responses={503: {"description": "To be replaced"}})
async def check_live(services: WithServices) -> Response:
    """Tell by the status whether the process should live on."""
    return Response(status_code=503 if any(device.problem for device in services.registry.devices) else 200)


@router.get("/health/ready", response_class=Response, responses={503: {"description": "Not ready"}})
async def check_ready(services: WithServices) -> Response:
    """Tell by the status whether requests are welcome."""
    return Response(status_code=200 if services.registry.is_ready else 503)


@router.get("/models/{name}", responses=_TROUBLE)
@router.get("/models/{name}/versions/{version}", responses=_TROUBLE)
async def describe_model(name: str, services: WithServices, version: str | None = None) -> ModelMetadata:
    """Describe a model."""
    registry = services.registry
    model = registry.find(_key(name, version))
    return ModelMetadata(
        name=model.name,
        versions=[other.version for other in registry.models.values() if other.name == model.name],
        inputs=[TensorMetadata(name=IMAGE, datatype="BYTES", shape=[-1])],
        outputs=[TensorMetadata(name=output, datatype="UINT8", shape=[-1, -1, -1]) for output in (MASK, CONFIDENCE)],
    )


@router.get("/models/{name}/ready", responses=_NOT_READY)
@router.get("/models/{name}/versions/{version}/ready", responses=_NOT_READY)
async def check_model(name: str, services: WithServices, response: Response, version: str | None = None) -> ModelReady:
    """Tell by the status whether a model answers."""
    model = services.registry.find(_key(name, version))
    response.status_code = 200 if model.can_answer_now else 503
    return ModelReady(name=model.name, ready=model.can_answer_now)


@router.post("/models/{name}/infer", **_INFER)
@router.post("/models/{name}/versions/{version}/infer", **_INFER)
async def infer(  # noqa: PLR0913, PLR0917  # each is a part of the request
    request: Request,
    name: str,
    services: WithServices,
    version: str | None = None,
    hurry: Annotated[Hurry, Header()] = Hurry(),  # noqa: B008  # frozen
    json_length: Annotated[
        int | None, Header(alias=JSON_LENGTH, description="length of the JSON, where bytes follow")
    ] = None,
) -> Response:
    """Find the class of every pixel of images.

    Send files as BYTES or upright RGB pixels as UINT8. The images of a request have one size. Parameters are the
    options of `/segment`: `classes`, `threshold`, `min_area`, `size` and `tta`.
    """
    settings, pipeline = services.settings, services.pipeline
    wish = make_wish(_MASK_ALONE, View(), hurry, settings, model=_key(name, version))
    with pipeline.visit(wish) as visit:
        async with body_in_time(deadline=wish.deadline, patience=settings.body_timeout):
            body = await request.body()
        asked, images = await asyncio.to_thread(read_request, body, json_length)
        if not 1 <= len(images) <= settings.max_images_per_request:
            most = settings.max_images_per_request
            raise InvalidRequest(f"{len(images)} images came, allowed are 1 to {most} (max_images_per_request)")
        wish = replace(wish, view=_view(asked), encoder=_encoder(asked))
        with visit.model.admission.admit(wish.priority, num_images=len(images)) as place:
            answers = await unless_client_goes(request, pipeline.segment_all(images, visit, place, wish))
            written = await asyncio.to_thread(_write, asked, answers, wish)
    request.state.log_fields = {"model": visit.model.name, "images": len(images)}
    request.state.stages = [stage for answer in answers if isinstance(answer, Answer) for stage in answer.stages]
    if written.json_bytes is None:
        return Response(written.content, media_type="application/json")
    headers = {JSON_LENGTH: str(written.json_bytes)}
    return Response(written.content, media_type="application/octet-stream", headers=headers)


def _encode_mask(labelled: LabelledMask) -> bytes:
    return labelled.mask.tobytes()


def _encode_both(labelled: LabelledMask) -> bytes:
    assert labelled.confidence is not None
    return labelled.mask.tobytes() + labelled.confidence.tobytes()


_MEDIA_TYPE = "application/octet-stream"
_MASK_ALONE = Encoder(_MEDIA_TYPE, _encode_mask)
_BOTH = Encoder(_MEDIA_TYPE, _encode_both, Wanted(confidence=True))


def _encoder(asked: InferRequest) -> Encoder:
    """Give the confidence only to those who name it: it costs a softmax."""
    return _BOTH if CONFIDENCE in {output.name for output in asked.outputs} else _MASK_ALONE


def _view(asked: InferRequest) -> View:
    options = {name: value for name, value in asked.parameters.items() if name not in _NOT_OURS}
    for name in options:
        if name not in MaskOptions.model_fields:  # at the first: pydantic would tell of every single one
            known = ", ".join(MaskOptions.model_fields)
            raise InvalidRequest(f"unknown parameter {name[:50]!r}, known are {known}")
    try:
        return MaskOptions.model_validate(options).view()
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        name = ".".join(str(part)[:50] for part in first["loc"])
        raise InvalidRequest(f"parameter {name} is {repr(first['input'])[:50]}: {first['msg']}") from error


def _write(asked: InferRequest, answers: Sequence[Answer | ServiceError], wish: Wish) -> Written:
    """Put the masks of a request together.

    Raises:
        ServiceError: One of the images failed, or they differ in size.
    """
    done = []
    for answer in answers:
        if isinstance(answer, ServiceError):
            raise answer
        done.append(answer)
    sizes = {answer.size for answer in done}
    if len(sizes) > 1:
        told = ", ".join(f"{width}x{height}" for height, width in sorted(sizes))
        raise InvalidRequest(f"the images have the sizes {told}; those of one request must have one")
    names = (MASK, CONFIDENCE) if wish.encoder is _BOTH else (MASK,)
    planes = [np.frombuffer(answer.content, np.uint8).reshape(len(names), *answer.size) for answer in done]
    stacked = np.stack(planes, axis=1)  # [outputs, N, H, W]
    outputs = dict(zip(names, stacked, strict=True))
    return write_answer(asked, outputs, model=done[0].model, version=done[0].version)


def _key(name: str, version: str | None) -> str:
    return name if version is None else f"{name}@{version}"
