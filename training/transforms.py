"""Augment images and targets together, from random numbers that depend on seed, epoch and sample alone.

Letters: C channels, H and W height and width, S side of the crop.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torchvision import tv_tensors  # type: ignore[import-untyped]  # torchvision has no stubs
from torchvision.transforms import v2  # type: ignore[import-untyped]  # torchvision has no stubs
from torchvision.transforms.v2 import functional as vision  # type: ignore[import-untyped]  # torchvision has no stubs

from model_zoo.labels import IGNORE_INDEX
from model_zoo.preprocess import mean_color, network_size
from model_zoo.spec import InputRule, SizeRule
from training.datasets import Sample


@dataclass(frozen=True, slots=True)
class Augmentation:
    """Say how strongly images are varied; ``scale_*`` are relative to the size at which the network sees the image."""

    crop: int
    scale_min: float
    scale_max: float
    flip: float
    jitter: float


class Augment:
    """Turn a sample into what a network trains on."""

    def __init__(self, rule: InputRule, size: SizeRule, strength: Augmentation) -> None:
        self._rule = rule
        color = mean_color(rule)[::-1] if rule.color_order == "bgr" else mean_color(rule)
        jitter = strength.jitter
        self._transform = v2.Compose([
            RandomScale(size, strength.scale_min, strength.scale_max),
            v2.RandomCrop(
                strength.crop,
                pad_if_needed=True,
                fill={tv_tensors.Image: list(color), tv_tensors.Mask: IGNORE_INDEX},
            ),
            v2.RandomHorizontalFlip(strength.flip),
            v2.ColorJitter(brightness=jitter, contrast=jitter, saturation=jitter),
        ])  # fmt: skip

    def __call__(self, sample: Sample, *, seed: int, epoch: int) -> tuple[Tensor, Tensor]:
        """Give the image, uint8 ``[C, S, S]`` in the network's channel order, and the target, uint8 ``[S, S]``."""
        image = sample.image.convert("L") if self._rule.color_order == "grey" else sample.image
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(random_key(seed, epoch, sample.id))
            varied, target = self._transform(vision.to_image(image), tv_tensors.Mask(sample.target))
        if self._rule.color_order == "bgr":
            varied = varied.flip(0)
        return varied.as_subclass(Tensor), target.as_subclass(Tensor)


class RandomScale(v2.Transform):  # type: ignore[misc]  # torchvision has no stubs
    """Resize image and target by one random factor: bilinear with antialias, and nearest for the target."""

    def __init__(self, size: SizeRule, scale_min: float, scale_max: float) -> None:
        super().__init__()
        self._size = size
        self._range = (scale_min, scale_max)

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """Draw the size, ``[H, W]``."""
        height, width = network_size(tuple(vision.get_size(flat_inputs[0])), self._size)
        scale = float(torch.empty(()).uniform_(*self._range))
        return {"size": [max(1, round(height * scale)), max(1, round(width * scale))]}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:  # noqa: ANN401  # torchvision's own signature
        """Resize one of the two."""
        if not isinstance(inpt, tv_tensors.Mask):
            return vision.resize(inpt, params["size"], antialias=True)
        # torchvision resizes masks by "nearest", which looks half a pixel up and left of where the image looks
        exact = v2.InterpolationMode.NEAREST_EXACT
        resized = vision.resize_image(inpt.as_subclass(Tensor)[None], params["size"], interpolation=exact)
        return tv_tensors.wrap(resized[0], like=inpt)


def random_key(seed: int, epoch: int, sample_id: str) -> int:
    """Give the seed of all random numbers that one sample needs in one epoch."""
    digest = hashlib.sha256(f"{seed}:{epoch}:{sample_id}".encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1
