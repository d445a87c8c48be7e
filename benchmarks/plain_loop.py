"""Train as torchvision's ``references/segmentation/train.py`` does by default: the loop that others are timed beside.

Letters: S side of the crop.
"""

from __future__ import annotations

import random
import time
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import InterpolationMode, RandomCrop  # type: ignore[import-untyped]  # torchvision has no stubs
from torchvision.transforms import functional as vision

from model_zoo.labels import IGNORE_INDEX

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
LR, MOMENTUM, WEIGHT_DECAY, POWER = 0.01, 0.9, 1e-4, 0.9
PRINT_EVERY = 10


def plain_loop(
    network: nn.Module,
    loader: DataLoader[tuple[Tensor, Tensor]],
    *,
    device: str,
    half: torch.dtype | None = None,
    channels_last: bool = False,
) -> tuple[list[float], list[float]]:
    """Train, and give for every step when it ended and how long it waited for its images, in seconds.

    With ``half`` it computes under autocast to that type, and scales the gradients if that is float16.
    """
    optimizer = torch.optim.SGD(network.parameters(), lr=LR, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: (1 - step / len(loader)) ** POWER)
    scaler = torch.amp.GradScaler(device, enabled=half is torch.float16)
    network.train()
    ends, waited = [], []
    started = time.monotonic()
    for number, (pixels, classes) in enumerate(loader):
        waited.append(time.monotonic() - started)
        images, targets = pixels.to(device), classes.to(device)
        if channels_last:
            images = images.contiguous(memory_format=torch.channels_last)
        with nullcontext() if half is None else torch.autocast(device, half):
            loss = F.cross_entropy(network(images).logits, targets, ignore_index=IGNORE_INDEX)
        optimizer.zero_grad()
        scaler.scale(loss).backward()  # type: ignore[no-untyped-call]  # torch has no annotation here
        scaler.step(optimizer)
        scaler.update()
        schedule.step()
        value = loss.item()
        if number % PRINT_EVERY == 0:
            print(f"step {number}  loss {value:.4f}  lr {optimizer.param_groups[0]['lr']:.4g}")
        started = time.monotonic()
        ends.append(started)
    return ends, waited


class PlainSamples(Dataset[tuple[Tensor, Tensor]]):
    """Read, augment and normalise a sample: float32 ``[3, S, S]`` and int64 ``[S, S]``."""

    def __init__(self, folder: Path, *, base: int, crop: int) -> None:
        self._folder = folder
        self._ids = (folder / "train.txt").read_text().split()
        self._sides = (base // 2, 2 * base)
        self._crop = crop

    def __len__(self) -> int:
        """Count the samples."""
        return len(self._ids)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """Give one, varied anew."""
        image = Image.open(self._folder / "JPEGImages" / f"{self._ids[index]}.jpg").convert("RGB")
        target = Image.open(self._folder / "SegmentationClass" / f"{self._ids[index]}.png")
        side = random.randint(*self._sides)  # noqa: S311  # no secret hangs on it
        image, target = vision.resize(image, side), vision.resize(target, side, InterpolationMode.NEAREST)
        if random.random() < 0.5:  # noqa: S311  # no secret hangs on it
            image, target = vision.hflip(image), vision.hflip(target)
        border = [0, 0, max(0, self._crop - image.width), max(0, self._crop - image.height)]
        if any(border):
            image, target = vision.pad(image, border), vision.pad(target, border, fill=IGNORE_INDEX)
        window = RandomCrop.get_params(image, (self._crop, self._crop))
        pixels = vision.convert_image_dtype(vision.pil_to_tensor(vision.crop(image, *window)))
        classes = torch.as_tensor(np.array(vision.crop(target, *window)), dtype=torch.int64)
        return vision.normalize(pixels, MEAN, STD), classes
