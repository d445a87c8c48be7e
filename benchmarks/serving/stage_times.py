"""Time every stage of the way of an image beside what it cannot be faster than, or what is done without this project.

Run: ``python -m benchmarks.serving.stage_times PLAN.json``; the findings are printed as JSON. The stages are the
service's own functions. What runs in one codec thread is timed in that thread's time on its processor, what runs on the
device by the clock, with all threads that torch has.

Letters: C classes, h and w size of the scores, H and W size of the image.
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from zlib_ng import zlib_ng

from model_zoo import checkpoint
from model_zoo.allocator import SERVED_BYTES, keep_freed_memory
from model_zoo.checkpoint import Checkpoint
from model_zoo.predict import network_batch
from model_zoo.preprocess import NetworkInput, network_input
from model_zoo.segmentation import Segmentation
from model_zoo.sparse_argmax import Step
from model_zoo.spec import Prediction
from model_zoo.upsample import segmented
from service.images import ImageLimits, decode_image
from service.masks.png import encode_png
from service.views import View

LIMITS = ImageLimits(max_pixels=1 << 26, max_side=1 << 14)

Clock = Callable[[], float]
Work = Callable[[], object]


@dataclass(frozen=True, slots=True)
class Plan:
    """Say which network is looked at, with which pictures, a folder of JPEGs, how often, and by how many threads."""

    network: str
    images: str
    rounds: int
    threads: int
    batch_size: int


@dataclass(frozen=True, slots=True)
class Stage:
    """Hold the work of a stage on some images, and what it is held against, by the names that tables have."""

    clock: Clock
    num_images: int
    work: Mapping[str, Work]


@dataclass(frozen=True, slots=True)
class Example:
    """Hold an image on its way: what is known of it at each stage."""

    jpeg: bytes
    image: Image.Image
    item: NetworkInput
    prediction: Prediction
    mask: NDArray[np.uint8]


def main(words: Sequence[str]) -> None:
    """Do what a plan's file says."""
    plan = Plan(**json.loads(Path(words[0]).read_text(encoding="utf-8")))
    keep_freed_memory(SERVED_BYTES)  # as the service does
    torch.set_num_threads(plan.threads)
    loaded = checkpoint.load(Path(plan.network))
    loaded.network.to(memory_format=torch.channels_last)
    jpegs = [path.read_bytes() for path in sorted(Path(plan.images).glob("*.jpg"))]
    with torch.inference_mode():
        examples = [prepare(jpeg, loaded) for jpeg in jpegs]
        print(json.dumps(measure(stages(examples, loaded, plan.batch_size), plan.rounds)))


def measure(found: Mapping[str, Stage], rounds: int) -> dict[str, dict[str, list[float]]]:
    """Give milliseconds an image, by stage, by what was done, for each round; a first round is not counted."""
    times: dict[str, dict[str, list[float]]] = {name: {} for name in found}
    for number in range(rounds + 1):
        for name, stage in found.items():
            for what, work in stage.work.items():
                started = stage.clock()
                work()
                milliseconds = 1000 * (stage.clock() - started) / stage.num_images
                if number:
                    times[name].setdefault(what, []).append(milliseconds)
    return times


def prepare(jpeg: bytes, loaded: Checkpoint) -> Example:
    """Lead an image through all stages once."""
    image = decode_image(jpeg, LIMITS)
    item = network_input(image, loaded.header.spec)
    prediction: Prediction = loaded.network(network_batch(loaded.network, [item], loaded.header.spec))
    mask: NDArray[np.uint8] = segmented(prediction.scores[0], steps(prediction, item)).mask.numpy()
    return Example(jpeg, image, item, prediction, mask)


def steps(prediction: Prediction, item: NetworkInput) -> list[Step]:
    """Give the enlargements that lead from scores to the image's size, as ``model_zoo/predict.py`` has them."""
    assert prediction.size is not None
    first = Step(prediction.size, item.content, prediction.align_corners)
    return [first] if item.size == item.content else [first, Step(item.size, item.size)]


def stages(examples: Sequence[Example], loaded: Checkpoint, batch_size: int) -> Mapping[str, Stage]:
    """Give all stages of these images."""
    spec, network = loaded.header.spec, loaded.network
    batch = same_shape([example.item for example in examples], batch_size)
    images = network_batch(network, batch, spec)
    return {
        "decode": _codec_stage(
            examples,
            {
                "service": lambda one: decode_image(one.jpeg, LIMITS),
                "Pillow, in full": lambda one: _open(one.jpeg).convert("RGB"),
                "Pillow, scaled while decoding": _decode_scaled,
            },
        ),
        "preprocess": _codec_stage(
            examples,
            {
                "service": lambda one: network_input(one.image, spec),
                "Pillow's resize": lambda one: one.image.resize(one.item.content[::-1], Image.Resampling.BILINEAR),
            },
        ),
        "forward": Stage(
            time.perf_counter,
            len(batch),
            {
                "service": lambda: network(network_batch(network, batch, spec)),
                "bare network": lambda: network(images),
            },
        ),
        "upsample, argmax": _device_stage(
            examples,
            {
                "service": lambda one: segmented(one.prediction.scores[0], steps(one.prediction, one.item)),
                "F.interpolate, argmax": two_steps,
                "copying scores and mask": lambda one: (one.prediction.scores.clone(), one.mask.copy()),
            },
        ),
        "encode": _codec_stage(
            examples,
            {
                "service": lambda one: _encode(one, loaded),
                "zlib-ng alone": lambda one: pack(one.mask),
                "Pillow's defaults": lambda one: Image.fromarray(one.mask).save(BytesIO(), "PNG"),
            },
        ),
    }


def same_shape(items: Sequence[NetworkInput], count: int) -> list[NetworkInput]:
    """Give so many inputs of the shape that most have, over and over if they are too few."""
    shape, _ = Counter(item.pixels.shape for item in items).most_common(1)[0]
    fitting = [item for item in items if item.pixels.shape == shape]
    return [fitting[number % len(fitting)] for number in range(count)]


def two_steps(example: Example) -> Tensor:
    """Take the argmax of full-size logits, the plain way, on contiguous ``[1, C, H, W]``."""
    logits = example.prediction.scores.contiguous()
    for step in steps(example.prediction, example.item):
        logits = F.interpolate(logits, step.grid, mode="bilinear", align_corners=step.align_corners)
        logits = logits[..., : step.kept[0], : step.kept[1]].contiguous()
    return logits.argmax(1).to(torch.uint8)


def pack(mask: NDArray[np.uint8]) -> bytes:
    """Compress a mask as a PNG does, without anything around it."""
    lines = np.zeros((mask.shape[0], 1 + mask.shape[1]), np.uint8)
    lines[:, 1:] = mask
    packer = zlib_ng.compressobj(level=1, strategy=zlib_ng.Z_RLE)
    return packer.compress(lines.data) + packer.flush()


def _codec_stage(examples: Sequence[Example], work: Mapping[str, Callable[[Example], object]]) -> Stage:
    return Stage(time.thread_time, len(examples), _of_all(examples, work))


def _device_stage(examples: Sequence[Example], work: Mapping[str, Callable[[Example], object]]) -> Stage:
    return Stage(time.perf_counter, len(examples), _of_all(examples, work))


def _of_all(examples: Sequence[Example], work: Mapping[str, Callable[[Example], object]]) -> dict[str, Work]:
    def over_all(one: Callable[[Example], object]) -> Work:
        return lambda: [one(example) for example in examples]

    return {what: over_all(one) for what, one in work.items()}


def _open(jpeg: bytes) -> Image.Image:
    image = Image.open(BytesIO(jpeg))
    image.load()
    return image


def _decode_scaled(example: Example) -> Image.Image:
    """Let libjpeg leave out what is finer than the network sees."""
    image = Image.open(BytesIO(example.jpeg))
    image.draft("RGB", example.item.content[::-1])
    image.load()
    return image


def _encode(example: Example, loaded: Checkpoint) -> bytes:
    found = Segmentation(torch.from_numpy(example.mask), torch.zeros(loaded.header.spec.num_classes))
    return encode_png(View().label(found, loaded.header))


if __name__ == "__main__":
    main(sys.argv[1:])
