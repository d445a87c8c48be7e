"""Tell the story of one request: bytes in, mask out. Read this file first.

door -> body -> place -> model -> decode_image -> network_input -> Batcher -> Encoder -> bytes

The door refuses before the body is read, the place is taken before the image is decoded, and the model is in memory
before the image is on its way to a device. Whatever goes wrong is a ``ServiceError``, counted by its name.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from model_zoo.card import CheckpointHeader
from model_zoo.predict import Segmentation
from model_zoo.preprocess import NetworkInput, network_input
from service.admission import Place, Priority
from service.errors import DeadlineExceeded, ServiceError
from service.images import ImageLimits, decode_image
from service.masks.encoder import Encoder, LabelledMask
from service.metrics import Metrics
from service.models import Model
from service.registry import Registry


@dataclass(frozen=True, slots=True)
class Wish:
    """Hold what a client asks for; ``deadline`` is of the event loop's clock, ``timeout`` after the request's head."""

    encoder: Encoder
    timeout: float
    deadline: float
    model: str | None = None
    priority: Priority = Priority.INTERACTIVE


@dataclass(frozen=True, slots=True)
class Answer:
    """Hold an encoded mask, the model that made it, and the seconds that each stage took."""

    content: bytes
    media_type: str
    model: str
    version: str
    seconds: Mapping[str, float]


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
    def visit(self, wish: Wish) -> Iterator[Model]:
        """Find the model of a request and keep it from going until the request is answered; count what becomes of it.

        Raises:
            ServiceError: As ``Registry.find``, ``Registry.check`` and ``Admission.check``.
        """
        model = self._registry.find(wish.model)
        outcome = "failed"
        try:
            with model.visitors.held():
                self._registry.check(model)
                model.admission.check(wish.priority)
                yield model
            outcome = "ok"
        except ServiceError as error:
            outcome = error.slug
            raise
        except asyncio.CancelledError:
            outcome = "client-gone"
            raise
        finally:
            self._metrics.images.labels(model.name, outcome).inc()

    async def segment(self, data: bytes, model: Model, place: Place, wish: Wish) -> Answer:
        """Decode an image, have it segmented and encode its mask, all before the wish's deadline.

        To be called during a ``visit``, with a place of the model's admission. Cancelling this takes the image out of
        whatever it waits for.

        Raises:
            ServiceError: What went wrong, in words for the client.
        """
        loop = asyncio.get_running_loop()
        with _in_time(wish.timeout):
            async with asyncio.timeout_at(wish.deadline), self._registry.hold(model) as segmenter:
                header = segmenter.header
                started = time.monotonic()
                image = await loop.run_in_executor(self._codecs, self._read, data, header, place)
                decoded = time.monotonic()
                forwarded = await segmenter.batcher.forward(
                    image, needs_probabilities=wish.encoder.needs_probabilities, priority=wish.priority
                )
                returned = time.monotonic()
                content = await loop.run_in_executor(self._codecs, _write, forwarded.segmentation, header, wish.encoder)
                encoded = time.monotonic()
        seconds = {
            "decode": decoded - started,
            "queue": forwarded.queue,
            "infer": forwarded.infer,
            "encode": encoded - returned,
        }
        for stage, duration in seconds.items():
            self._metrics.stage_seconds.labels(header.name, stage).observe(duration)
        return Answer(content, wish.encoder.media_type, header.name, header.version, seconds)

    def _read(self, data: bytes, header: CheckpointHeader, place: Place) -> NetworkInput:
        return network_input(decode_image(data, self._limits, on_size=place.add_pixels), header.spec)


def label(segmentation: Segmentation, header: CheckpointHeader) -> LabelledMask:
    """Put a segmentation together with what its values mean."""
    return LabelledMask(
        mask=np.asarray(segmentation.mask),
        model=header.name,
        classes=header.spec.classes,
        palette=header.spec.palette,
        probability_sums=segmentation.probability_sums.tolist(),
    )


def _write(segmentation: Segmentation, header: CheckpointHeader, encoder: Encoder) -> bytes:
    return encoder.encode(label(segmentation, header))


@contextmanager
def _in_time(timeout: float) -> Iterator[None]:
    try:
        yield
    except TimeoutError as error:
        raise DeadlineExceeded(f"no answer within {timeout:g} s (request_timeout, or X-Request-Timeout)") from error
