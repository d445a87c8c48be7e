"""Tell the story of one request: bytes in, mask out. Read this file first.

door -> body -> place -> model -> decode_image -> network_input -> Batcher -> Encoder -> bytes

The door refuses before the body is read, the place is taken before the image is decoded, and the model is in memory
before the image is on its way to a device. Whatever goes wrong is a ``ServiceError``, counted by its name.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

from PIL import Image

from model_zoo.card import CheckpointHeader
from model_zoo.preprocess import NetworkInput
from model_zoo.segmentation import Segmentation
from service.admission import Place, Priority
from service.errors import DeadlineExceeded, ServiceError
from service.images import ImageLimits, Pixels, check_probabilities, decode_image
from service.masks.encoder import Encoder
from service.metrics import Metrics
from service.models import Model
from service.registry import Registry
from service.tracing import Stage
from service.views import View


@dataclass(frozen=True, slots=True)
class Wish:
    """Hold what a client asks for; ``deadline`` is of the event loop's clock, ``timeout`` after the request's head."""

    encoder: Encoder
    timeout: float
    deadline: float
    model: str | None = None
    priority: Priority = Priority.INTERACTIVE
    view: View = field(default_factory=View)


@dataclass(frozen=True, slots=True)
class Answer:
    """Hold an encoded mask, the model that made it, its height and width, and the stages of its way."""

    content: bytes
    media_type: str
    model: str
    version: str
    size: tuple[int, int]
    stages: Sequence[Stage]

    @property
    def seconds(self) -> Mapping[str, float]:
        """Give how long each stage took, by its name."""
        return {stage.name: stage.ended - stage.started for stage in self.stages}


@dataclass(frozen=True, slots=True)
class Visit:
    """Hold the model that a request has found, and what became of its images so far."""

    model: Model
    outcomes: list[str] = field(default_factory=list)


class Pipeline:
    """Lead requests from their bytes to their masks."""

    def __init__(self, registry: Registry, codecs: ThreadPoolExecutor, limits: ImageLimits, metrics: Metrics) -> None:
        self._registry = registry
        self._codecs = codecs
        self._limits = limits
        self._metrics = metrics

    def check_door(self, name: str | None) -> None:
        """Do nothing if a request for a model would be let in now; count it if it would not.

        Raises:
            ServiceError: As ``visit``.
        """
        model = self._registry.find(name)
        try:
            self._registry.check(model)
            model.admission.check()
        except ServiceError as error:
            self._metrics.images.labels(model.name, error.slug).inc()
            raise

    @contextmanager
    def visit(self, wish: Wish) -> Iterator[Visit]:
        """Find the model of a request and keep it from going until the request is answered; count what becomes of it.

        A request that gets as far as its images is counted image by image, any other as one.

        Raises:
            ServiceError: As ``Registry.find``, ``Registry.check`` and ``Admission.check``.
        """
        model = self._registry.find(wish.model)
        visit = Visit(model)
        try:
            with _told(visit.outcomes), model.visitors.held():
                self._registry.check(model)
                model.admission.check(wish.priority)
                yield visit
        finally:
            for outcome in visit.outcomes[:-1] or visit.outcomes:  # the last is the request's own
                self._metrics.images.labels(model.name, outcome).inc()

    async def segment_all(
        self, images: Sequence[bytes | Pixels], visit: Visit, place: Place, wish: Wish
    ) -> list[Answer | ServiceError]:
        """Do with each image what ``segment`` does; what goes wrong with one is its answer."""

        async def one(data: bytes | Pixels) -> Answer | ServiceError:
            try:
                return await self.segment(data, visit, place, wish)
            except ServiceError as error:
                return error

        return await asyncio.gather(*map(one, images))

    async def segment(self, data: bytes | Pixels, visit: Visit, place: Place, wish: Wish) -> Answer:
        """Decode an image, have it segmented and encode its mask, all before the wish's deadline.

        To be called during a ``visit``, with a place of the model's admission. Cancelling this takes the image out of
        whatever it waits for.

        Raises:
            ServiceError: What went wrong, in words for the client.
        """
        loop = asyncio.get_running_loop()
        with _told(visit.outcomes), _in_time(wish.timeout):
            async with asyncio.timeout_at(wish.deadline), self._registry.hold(visit.model) as segmenter:
                header = segmenter.header
                wish.view.class_ids(header.spec.classes)
                started = time.monotonic()
                image, item = await loop.run_in_executor(self._codecs, self._read, data, header, place, wish)
                decoded = time.monotonic()
                forwarded = await segmenter.batcher.forward(
                    item, wanted=wish.view.wanted(wish.encoder), priority=wish.priority
                )
                returned = time.monotonic()
                found = forwarded.segmentation
                content, size = await loop.run_in_executor(self._codecs, self._write, found, header, wish, image)
                encoded = time.monotonic()
        batched = decoded + forwarded.queue
        stages = (
            Stage("decode", started, decoded),
            Stage("queue", decoded, batched),
            Stage("infer", batched, batched + forwarded.infer),
            Stage("encode", returned, encoded),
        )
        for stage in stages:
            self._metrics.stage_seconds.labels(header.name, stage.name).observe(stage.ended - stage.started)
        return Answer(content, wish.encoder.media_type, header.name, header.version, size, stages)

    def _read(
        self, data: bytes | Pixels, header: CheckpointHeader, place: Place, wish: Wish
    ) -> tuple[Image.Image | None, NetworkInput]:
        """Give the image, if its encoder needs it, and what goes to the network."""
        image = decode_image(data, self._limits, on_size=place.add_pixels)
        item = wish.view.prepare(image, header.spec)
        if wish.encoder.wanted.probabilities:
            check_probabilities(header.spec.num_classes, item.size, self._limits)
        return image if wish.encoder.needs_image else None, item

    def _write(
        self, segmentation: Segmentation, header: CheckpointHeader, wish: Wish, image: Image.Image | None
    ) -> tuple[bytes, tuple[int, int]]:
        """Give the encoded mask, its height and width, and count its pixels."""
        labelled = wish.view.label(segmentation, header, image=image)
        content = wish.encoder.encode(labelled)
        for name, num_pixels in labelled.estimated_pixels():  # here, for the event loop has more to do than this thread
            self._metrics.class_pixels.labels(header.name, name).inc(num_pixels)
        return content, labelled.size


@contextmanager
def _told(outcomes: list[str]) -> Iterator[None]:
    """Note how something ended."""
    outcome = "failed"
    try:
        yield
        outcome = "ok"
    except ServiceError as error:
        outcome = error.slug
        raise
    except asyncio.CancelledError:
        outcome = "client-gone"
        raise
    finally:
        outcomes.append(outcome)


@contextmanager
def _in_time(timeout: float) -> Iterator[None]:
    try:
        yield
    except TimeoutError as error:
        raise DeadlineExceeded(f"no answer within {timeout:g} s (request_timeout, or X-Request-Timeout)") from error
