"""Answer a picture with its mask."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request, Response

from service import errors
from service.dependencies import WithServices
from service.pipeline import Answer, Wish
from service.problems import document_problems
from service.routes.bodies import BODY_DOCUMENT, Upload, read_images
from service.routes.lean import LeanRoute
from service.routes.patience import unless_client_goes
from service.routes.several import list_answers
from service.routes.wishes import Hurry, MaskQuery, read_wish

router = APIRouter(tags=["segment"], route_class=LeanRoute)

_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The mask, of the size of the upright image; of `images`, a list or parts with one status each.",
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


@router.post("/segment", response_class=Response, responses=_RESPONSES, openapi_extra={"requestBody": BODY_DOCUMENT})
async def segment(
    request: Request,
    services: WithServices,
    query: Annotated[MaskQuery, Query()],
    hurry: Annotated[Hurry, Header()] = Hurry(),  # noqa: B008  # frozen
) -> Response:
    """Find the class of every pixel of an image.

    Send the image as the body, or as the field `image` of a form. The answer is a PNG whose pixel values are class
    ids, or what `format` or `Accept` asks for. Pixels without a class have the value 255. Several images may be sent
    at once, each as a field `images` of a form.
    """
    settings, pipeline = services.settings, services.pipeline
    wish = read_wish(request, query, hurry, settings)
    with pipeline.visit(wish) as visit:
        uploads = await read_images(
            request, deadline=wish.deadline, patience=settings.body_timeout, most=settings.max_images_per_request
        )
        images = [upload.data for upload in uploads.images]
        admission = visit.model.admission
        with admission.admit(wish.priority, num_images=len(images)) as place:  # now, so that the next request sees it
            if uploads.are_listed:
                answers = await unless_client_goes(request, pipeline.segment_all(images, visit, place, wish))
                return _respond_to_all(request, answers, uploads.images, wish)
            return _respond(request, await unless_client_goes(request, pipeline.segment(images[0], visit, place, wish)))


def _respond_to_all(
    request: Request, answers: Sequence[Answer | errors.ServiceError], uploads: Sequence[Upload], wish: Wish
) -> Response:
    done = [answer for answer in answers if isinstance(answer, Answer)]
    request.state.stages = [stage for answer in done for stage in answer.stages]
    request.state.log_fields = {"model": wish.model, "images": len(answers), "failed": len(answers) - len(done)}
    listing = list_answers(uploads, answers, wish.encoder.media_type)
    return Response(listing.content, media_type=listing.media_type, headers={"Vary": "Accept"})


def _respond(request: Request, answer: Answer) -> Response:
    request.state.stages = answer.stages
    timing = {stage: round(1000 * seconds, 2) for stage, seconds in answer.seconds.items()}
    request.state.log_fields = {"model": answer.model, **{f"{stage}_ms": ms for stage, ms in timing.items()}}
    headers = {
        "X-Model": answer.model,
        "X-Model-Version": answer.version,
        "Server-Timing": ", ".join(f"{stage};dur={ms}" for stage, ms in timing.items()),
        "Vary": "Accept",
    }
    return Response(answer.content, media_type=answer.media_type, headers=headers)
