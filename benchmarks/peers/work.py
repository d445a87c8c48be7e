"""Do what every peer does alike: the bytes of JPEGs in, the bytes of their masks' PNGs out.

This is the straightforward way, as one writes it from the documentation of Pillow and torch: decode in full, resize,
forward in float32 eager, bilinear logits of the image's size, argmax, Pillow's own PNG settings. The batch has the
service's own memory layout, channels last, so that the network itself runs alike wherever it is served.

Letters: B batch, C classes, h and w size of the network input, H and W size of the image.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from itertools import chain

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from benchmarks.peers.peer import Task
from model_zoo import checkpoint
from model_zoo.labels import VOC_CLASSES, voc_palette
from model_zoo.predict import network_batch
from model_zoo.preprocess import NetworkInput, network_input, upright_rgb
from model_zoo.spec import Color

Work = Callable[[Sequence[bytes]], list[bytes]]
"""Takes a batch of JPEGs and gives their masks, in their order."""


def load(task: Task) -> Work:
    """Give the work of a task, once it has been done for a first time."""
    torch.set_num_threads(task.threads)
    if task.network is None:
        return Emptying(task)
    work = Segmenting(checkpoint.load(task.network), task)
    work([grey_jpeg()])
    return work


class Emptying:
    """Do all but the network: a pixel's class is its red value modulo 21, as this service's null runtime has it."""

    def __init__(self, task: Task) -> None:
        self._codecs = ThreadPoolExecutor(task.threads)

    def __call__(self, bodies: Sequence[bytes]) -> list[bytes]:
        """Give the masks of JPEGs, in their order."""
        return list(self._codecs.map(_empty_mask, bodies))


class Segmenting:
    """Segment batches; images of one network-input shape go through the network together."""

    def __init__(self, model: checkpoint.Checkpoint, task: Task) -> None:
        self._network = model.network
        self._spec = model.header.spec
        self._codecs = ThreadPoolExecutor(task.threads)

    def __call__(self, bodies: Sequence[bytes]) -> list[bytes]:
        """Give the masks of JPEGs, in their order."""
        inputs = list(self._codecs.map(self._decode, bodies))
        masks: list[NDArray[np.uint8] | None] = [None] * len(inputs)
        for shape in {item.pixels.shape for item in inputs}:
            places = [place for place, item in enumerate(inputs) if item.pixels.shape == shape]
            for place, mask in zip(places, self._segment([inputs[place] for place in places]), strict=True):
                masks[place] = mask
        return list(self._codecs.map(self._encode, masks))

    def _decode(self, body: bytes) -> NetworkInput:
        return network_input(upright_rgb(Image.open(BytesIO(body))), self._spec)

    @torch.inference_mode()
    def _segment(self, inputs: Sequence[NetworkInput]) -> list[NDArray[np.uint8]]:
        logits = self._network(network_batch(self._network, inputs, self._spec)).logits  # [B, C, h, w]
        return [_mask(one, item) for one, item in zip(logits, inputs, strict=True)]

    def _encode(self, mask: NDArray[np.uint8]) -> bytes:
        return png_bytes(mask, self._spec.palette)


def png_bytes(mask: NDArray[np.uint8], palette: Sequence[Color]) -> bytes:
    """Write a mask ``[H, W]`` as an indexed picture."""
    image = Image.fromarray(mask)
    image.putpalette(bytes(chain.from_iterable(palette)))
    output = BytesIO()
    image.save(output, "PNG")
    return output.getvalue()


def grey_jpeg() -> bytes:
    """Give a small picture."""
    output = BytesIO()
    Image.new("RGB", (64, 64), "grey").save(output, "JPEG")
    return output.getvalue()


def _mask(logits: Tensor, item: NetworkInput) -> NDArray[np.uint8]:
    """Give the mask ``[H, W]`` of an image from its logits ``[C, h, w]``."""
    content = logits[None, :, : item.content[0], : item.content[1]]
    if item.size != item.content:
        content = F.interpolate(content, item.size, mode="bilinear", align_corners=False)
    mask: NDArray[np.uint8] = content[0].argmax(0).to(torch.uint8).numpy()
    return mask


def _empty_mask(body: bytes) -> bytes:
    red = np.asarray(upright_rgb(Image.open(BytesIO(body))))[..., 0]
    return png_bytes(red % len(VOC_CLASSES), voc_palette(len(VOC_CLASSES)))
