"""Tell the story of one request: bytes in, mask out. Read this file first.

bytes -decode_image-> image -network_input-> tensor -Batcher-> segmentation -Encoder-> bytes
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
from service.admission import Admission
from service.batching import Batcher
from service.errors import DeadlineExceeded, ServiceError
from service.images import ImageLimits, decode_image
from service.masks.encoder import Encoder, LabelledMask
from service.metrics import Metrics


@dataclass(frozen=True, slots=True)
class Answer:
    """Hold an encoded mask, the model that made it, and the seconds that each stage took."""

    content: bytes
    media_type: str
    model: str
    seconds: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Segmenter:
    """Hold one served model, ready to answer."""

    header: CheckpointHeader
    batcher: Batcher
    admission: Admission
    codecs: ThreadPoolExecutor
    limits: ImageLimits
    metrics: Metrics

    @contextmanager
    def admit(self) -> Iterator[None]:
        """Hold a place for one image, from before its bytes are read until it is answered; count what becomes of it.

        Raises:
            QueueFull, ShuttingDown: As ``Admission.admit``.
        """
        outcome = "failed"
        try:
            with self.admission.admit():
                yield
            outcome = "ok"
        except ServiceError as error:
            outcome = error.slug
            raise
        except asyncio.CancelledError:
            outcome = "client-gone"
            raise
        finally:
            self.metrics.images.labels(self.header.name, outcome).inc()

    async def segment(self, data: bytes, encoder: Encoder, *, deadline: float) -> Answer:
        """Decode an image, have it segmented and encode its mask, all before ``deadline`` (of the loop's clock).

        To be called with a place in hand (``admit``). Cancelling this takes the image out of whatever it waits for.

        Raises:
            ServiceError: What went wrong, in words for the client.
        """
        loop = asyncio.get_running_loop()
        with _before(deadline):
            async with asyncio.timeout_at(deadline):
                started = time.monotonic()
                image = await loop.run_in_executor(self.codecs, self._read, data)
                decoded = time.monotonic()
                forwarded = await self.batcher.forward(image, needs_probabilities=encoder.needs_probabilities)
                returned = time.monotonic()
                content = await loop.run_in_executor(self.codecs, self._write, forwarded.segmentation, encoder)
                encoded = time.monotonic()
        seconds = {
            "decode": decoded - started,
            "queue": forwarded.queue,
            "infer": forwarded.infer,
            "encode": encoded - returned,
        }
        for stage, duration in seconds.items():
            self.metrics.stage_seconds.labels(self.header.name, stage).observe(duration)
        return Answer(content, encoder.media_type, self.header.name, seconds)

    async def close(self) -> None:
        """Let nobody in any more, and answer whoever still waits."""
        self.admission.close()
        await self.batcher.close()

    def _read(self, data: bytes) -> NetworkInput:
        return network_input(decode_image(data, self.limits), self.header.spec)

    def _write(self, segmentation: Segmentation, encoder: Encoder) -> bytes:
        return encoder.encode(label(segmentation, self.header))


def label(segmentation: Segmentation, header: CheckpointHeader) -> LabelledMask:
    """Put a segmentation together with what its values mean."""
    return LabelledMask(
        mask=np.asarray(segmentation.mask),
        model=header.name,
        classes=header.spec.classes,
        palette=header.spec.palette,
        probability_sums=segmentation.probability_sums.tolist(),
    )


@contextmanager
def _before(deadline: float) -> Iterator[None]:
    entered = asyncio.get_running_loop().time()
    try:
        yield
    except TimeoutError as error:
        raise DeadlineExceeded(f"no answer within the {max(0.0, deadline - entered):.1f} s that were left") from error
