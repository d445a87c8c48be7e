"""Augment images and targets together, from random numbers that depend on seed, epoch and sample alone.

Letters: C channels, H and W height and width, S side of the crop.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
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
from training.distortions import RandomBlur, RandomCrop, RandomElastic, RandomJPEG, RandomMotionBlur, RandomShift
from training.random_key import random_key


@dataclass(frozen=True, slots=True)
class Augmentation:
    """Say how strongly images are varied; ``scale_*`` are relative to the size at which the network sees the image.

    ``crop`` is a side, or 0 for the whole image; ``class_share`` the most of its labelled pixels that one class may
    fill. ``jitter`` is the strength of random brightness, contrast and saturation where these have none of their own;
    the strength of ``hue`` is 0 where it has none. Of all else the plain name is the chance; with a unit, the strength.
    """

    crop: int
    scale_min: float
    scale_max: float
    flip: float
    jitter: float
    flip_vertical: float = 0.0
    rotate: float = 0.0
    rotate_degrees: float = 10.0
    shift: float = 0.0
    shift_pixels: int = 32
    elastic: float = 0.0
    elastic_pixels: float = 10.0
    grey: float = 0.0
    blur: float = 0.0
    blur_sigma: float = 2.0
    motion_blur: float = 0.0
    motion_blur_pixels: int = 9
    noise: float = 0.0
    noise_sigma: float = 0.05
    jpeg: float = 0.0
    jpeg_quality: int = 30
    class_share: float = 1.0
    brightness: float | None = None
    contrast: float | None = None
    saturation: float | None = None
    hue: float | None = None


class Augment:
    """Turn a sample into what a network trains on."""

    def __init__(self, rule: InputRule, size: SizeRule, strength: Augmentation) -> None:
        self._rule = rule
        color = list(mean_color(rule)[::-1] if rule.color_order == "bgr" else mean_color(rule))
        self._transform = v2.Compose([
            RandomScale(size, strength.scale_min, strength.scale_max),
            *_by_chance(_bends(strength, color)),
            *([RandomCrop(strength.crop, strength.class_share, color)] if strength.crop else []),
            v2.RandomHorizontalFlip(strength.flip),
            *_by_chance([(strength.flip_vertical, v2.RandomVerticalFlip(1.0))]),
            _jitter(strength),
            *_by_chance(_defects(strength)),
        ])  # fmt: skip

    def __call__(self, sample: Sample, *, seed: int, epoch: int) -> tuple[Tensor, Tensor]:
        """Give the image, uint8 ``[C, S, S]`` in the network's channel order, and the target, uint8 ``[S, S]``.

        Without a crop both are ``[..., H, W]``, as large as the scaled image.
        """
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


def pad_to(image: Tensor, target: Tensor, height: int, width: int, color: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Pad an image ``[C, H, W]`` with a colour, and its target ``[H, W]`` with void, on the right and below."""
    border = [0, 0, width - image.shape[2], height - image.shape[1]]
    if min(border) < 0:
        raise ValueError(f"image is {image.shape[2]}x{image.shape[1]} px, to be padded to {width}x{height}")
    # torchvision tells images and masks apart by nothing but their type, and a plain tensor is an image
    return vision.pad_image(image, border, fill=list(color)), vision.pad_mask(target, border, fill=IGNORE_INDEX)


def _bends(strength: Augmentation, color: list[int]) -> list[tuple[float, v2.Transform]]:
    """Give what moves the pixels of image and target, each with its chance."""
    rotation = v2.RandomRotation(
        strength.rotate_degrees,
        interpolation=v2.InterpolationMode.BILINEAR,
        fill={tv_tensors.Image: color, tv_tensors.Mask: IGNORE_INDEX},
    )
    return [
        (strength.rotate, rotation),
        (strength.shift, RandomShift(strength.shift_pixels, color)),
        (strength.elastic, RandomElastic(strength.elastic_pixels, color)),
    ]


def _jitter(strength: Augmentation) -> v2.Transform:
    """Give the changes of colour, in random order; those of strength 0 draw no random number but for the order."""
    own = {"brightness": strength.brightness, "contrast": strength.contrast, "saturation": strength.saturation}
    chosen = {name: strength.jitter if value is None else value for name, value in own.items()}
    return v2.ColorJitter(**chosen, hue=strength.hue or 0.0)


def _defects(strength: Augmentation) -> list[tuple[float, v2.Transform]]:
    """Give what a poor camera does to the image alone, in the order in which a camera does it."""
    reach = math.ceil(3 * strength.blur_sigma)
    return [
        (strength.motion_blur, RandomMotionBlur(strength.motion_blur_pixels)),
        (strength.blur, RandomBlur(2 * reach + 1, (0.1, strength.blur_sigma))),
        (strength.noise, v2.GaussianNoise(sigma=strength.noise_sigma)),
        (strength.grey, v2.RandomGrayscale(1.0)),
        (strength.jpeg, RandomJPEG(strength.jpeg_quality)),
    ]


def _by_chance(choices: Iterable[tuple[float, v2.Transform]]) -> list[v2.Transform]:
    """Apply each by its chance; what never happens draws no random number, so that the others find theirs unmoved."""
    return [v2.RandomApply([transform], p=chance) for chance, transform in choices if chance > 0]
