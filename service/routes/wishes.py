"""Read from the query and the headers of a request what its client wishes."""

from __future__ import annotations

import asyncio
from typing import Annotated, Literal

from fastapi import Request
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from service import errors
from service.admission import Priority
from service.masks import ENCODERS
from service.masks.encoder import Encoder, Target
from service.negotiation import choose_encoder
from service.pipeline import Wish
from service.settings import MOST_PIXELS, Settings
from service.views import View

Identifier = Annotated[str, StringConstraints(min_length=1, max_length=200)]


class MaskOptions(BaseModel):
    """Say what the mask shall show."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    classes: str | None = Field(
        default=None,
        max_length=4096,
        description="names, by commas: pixels of others become void",
        examples=["dog,person"],
    )
    threshold: float = Field(
        default=0.0, ge=0, le=1, description="pixels whose class is less probable become void", examples=[0.5]
    )
    min_area: int = Field(
        default=0, ge=0, le=MOST_PIXELS, description="connected regions of fewer pixels become void", examples=[100]
    )
    size: Literal["original", "network"] = Field(
        default="original", description="size of the mask: the image's, or that at which the network sees it"
    )
    tta: Literal["none", "flip"] = Field(
        default="none", description="flip: the mean with the mirrored image, in twice the time"
    )

    def view(self, target: Target | None = None) -> View:
        """Give the same for the pipeline.

        Raises:
            InvalidRequest: ``classes`` names none.
        """
        return View(
            classes=_names(self.classes),
            min_area=self.min_area,
            threshold=self.threshold,
            flip=self.tta == "flip",
            at_network_size=self.size == "network",
            target=target or Target(),
        )


class MaskQuery(MaskOptions):
    """Say in the query what the answer shall be."""

    model: str | None = Field(default=None, description="model, where it is not the default", examples=["voc"])
    format: str | None = Field(
        default=None,
        description="of the answer; goes before Accept",
        examples=["png"],
        json_schema_extra={"enum": [*ENCODERS, None]},
    )
    from_name: Identifier | None = Field(default=None, description="labelstudio: name of the BrushLabels (tag)")
    to_name: Identifier | None = Field(default=None, description="labelstudio: name of the Image (image)")


class Hurry(BaseModel):
    """Say in headers how soon an answer is needed."""

    model_config = ConfigDict(frozen=True)

    x_request_timeout: str | None = Field(
        default=None, description="seconds until the answer is of no use any more", examples=["2.5"]
    )
    x_priority: str | None = Field(default=None, description="interactive (the default) or bulk", examples=["bulk"])


def read_wish(request: Request, query: MaskQuery, hurry: Hurry, settings: Settings) -> Wish:
    """Put together what a client of ``/segment`` wishes.

    Raises:
        InvalidRequest: Something of it does not exist, or contradicts something else.
        NotAcceptable: No format has a media type that it accepts.
    """
    encoder = choose_encoder(query.format, ", ".join(request.headers.getlist("accept")))
    if (query.from_name or query.to_name) and encoder is not ENCODERS["labelstudio"]:
        raise errors.InvalidRequest("from_name and to_name are for format=labelstudio alone")
    target = Target(query.from_name or Target().from_name, query.to_name or Target().to_name)
    return make_wish(encoder, query.view(target), hurry, settings, model=query.model)


def make_wish(encoder: Encoder, view: View, hurry: Hurry, settings: Settings, *, model: str | None) -> Wish:
    """Put a wish together, its deadline counted from now on.

    Raises:
        InvalidRequest: The timeout or the priority is none.
    """
    timeout = _choose_timeout(hurry.x_request_timeout, settings)
    return Wish(
        encoder=encoder,
        timeout=timeout,
        deadline=asyncio.get_running_loop().time() + timeout,
        model=model,
        priority=_choose_priority(hurry.x_priority),
        view=view,
    )


def _names(classes: str | None) -> tuple[str, ...]:
    if classes is None:
        return ()
    names = tuple(dict.fromkeys(name.strip() for name in classes.split(",") if name.strip()))
    if not names:
        raise errors.InvalidRequest("classes names no class; leave it out for all of them")
    return names


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
