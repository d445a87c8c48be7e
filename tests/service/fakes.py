"""Small stand-ins that the service's tests own, and makers of images."""

import threading
from collections.abc import Sequence
from io import BytesIO

import numpy as np
import torch
from PIL import Image

from model_zoo.checkpoint import Checkpoint
from model_zoo.preprocess import NetworkInput
from model_zoo.segmentation import Segmentation, Wanted
from service.runtimes.runtime import Runtime
from service.settings import Settings

POISON = 255


class Echo:
    """Answer each image with a mask full of the red of its first pixel; hold the device while ``go`` is not set.

    A batch with an image whose red is ``POISON`` fails as a whole, one of more than ``room`` images for lack of memory.
    """

    precision = "none"
    precision_note: str | None = None
    weights_bytes = 0

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.room = 1000
        self.busy = threading.Event()
        self.go = threading.Event()
        self.go.set()

    def __call__(self, inputs: Sequence[NetworkInput], wanted: Sequence[Wanted]) -> list[Segmentation]:
        reds = [int(item.pixels[0, 0, 0]) for item in inputs]
        self.batches.append(reds)
        self.busy.set()
        assert self.go.wait(20), "the test forgot to let the device go"
        if len(reds) > self.room:
            raise torch.OutOfMemoryError
        if POISON in reds:
            raise RuntimeError("mat1 and mat2 of /secret/path cannot be multiplied")
        return [
            Segmentation(
                torch.full(item.size, red, dtype=torch.uint8),
                torch.full((POISON,), 0.5 * item.size[0] * item.size[1] * wish.sums, dtype=torch.float64),
            )
            for red, item, wish in zip(reds, inputs, wanted, strict=True)
        ]

    def hold(self) -> None:
        """Keep the next batch on the device until ``go`` is set."""
        self.busy.clear()
        self.go.clear()

    def build(self, _checkpoint: Checkpoint, _device: torch.device, _settings: Settings) -> Runtime:
        """Be the runtime of any checkpoint."""
        return self


def network_image(red: int, *, side: int = 32, mask_side: int | None = None) -> NetworkInput:
    """Make an image as a network takes it in; its mask is as large unless ``mask_side`` says otherwise."""
    mask_side = mask_side or side
    return NetworkInput(torch.full((3, side, side), red, dtype=torch.uint8), (side, side), (mask_side, mask_side))


def plain_image(red: int = 1, *, size: tuple[int, int] = (40, 30)) -> bytes:
    """Make a PNG of one colour."""
    return encode(Image.new("RGB", size, (red, 0, 0)))


def noisy_image(size: tuple[int, int] = (48, 40), *, seed: int = 0) -> Image.Image:
    """Make a picture of coloured blobs."""
    noise = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC)


def encode(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    """Write an image into bytes."""
    output = BytesIO()
    image.save(output, kind, **options)
    return output.getvalue()
