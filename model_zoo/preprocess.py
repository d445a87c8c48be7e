"""Turn an image into what a network takes in; training, evaluation and serving all come through here.

Letters: C channels, H and W size of the upright image, h and w size of the network input.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace

import numpy as np
import torch
from PIL import ExifTags, Image
from torch import Tensor

from model_zoo.spec import InputRule, ModelSpec, SizeRule

SMALLEST_SIDE = 32
"""No network of the zoo takes less; smaller images are padded to it."""

LONGEST_RATIO = 8
"""Under the ``shortest`` policy the longer side is at most this many times ``side``."""

_HAS_ALPHA = {"LA", "La", "PA", "RGBA", "RGBa"}
_CONVERTS_TO_RGB = {"1", "L", "P", "RGB", "RGBX", "CMYK", "YCbCr", "HSV"}


class UnsupportedMode(ValueError):
    """An image's pixels are of a kind that has no agreed way to 8-bit RGB."""


@dataclass(frozen=True, slots=True)
class NetworkInput:
    """Hold one image as a network takes it in, and what is needed to find the way back.

    ``pixels`` is uint8 ``[C, h, w]``, padded on the right and below; ``content`` is ``(height, width)`` without the
    padding; ``size`` is ``(H, W)`` of the upright image, which is the size of the mask.
    """

    pixels: Tensor
    content: tuple[int, int]
    size: tuple[int, int]


def upright_rgb(image: Image.Image) -> Image.Image:
    """Give the image as people see it: EXIF orientation applied, transparency on white, 8-bit RGB.

    Raises:
        UnsupportedMode: the mode is one that has no agreed way to RGB, such as floating point.
    """
    return _rgb(_upright(image))


def network_size(size: tuple[int, int], rule: SizeRule) -> tuple[int, int]:
    """Give the ``(height, width)``, before padding, at which a network sees an image of ``size`` ``(H, W)``."""
    longer, shorter = max(size), min(size)
    if rule.policy == "native":
        return size
    if rule.policy == "longest":
        scale = min(1.0, rule.side / longer)
    else:
        scale = min(rule.side / shorter, LONGEST_RATIO * rule.side / longer)
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def padded_size(content: tuple[int, int], rule: SizeRule) -> tuple[int, int]:
    """Give the ``(h, w)`` of the network input that holds ``content`` and its padding."""
    height, width = (max(SMALLEST_SIDE, -(-side // rule.multiple) * rule.multiple) for side in content)
    return height, width


def network_input(image: Image.Image, spec: ModelSpec) -> NetworkInput:
    """Resize and pad an upright RGB image as the spec says."""
    return sized_input(image, network_size((image.height, image.width), spec.size), spec)


def sized_input(image: Image.Image, content: tuple[int, int], spec: ModelSpec) -> NetworkInput:
    """Resize an upright RGB image to ``content``, ``(height, width)``, and pad it as the spec says."""
    size = (image.height, image.width)
    if content != size:
        image = image.resize((content[1], content[0]), Image.Resampling.BILINEAR)
    pixels = np.asarray(image.convert("L") if spec.input.color_order == "grey" else image)
    pixels = pixels.reshape(*content, -1)  # [height, width, C]
    if spec.input.color_order == "bgr":
        pixels = pixels[..., ::-1]
    canvas = np.empty((*padded_size(content, spec.size), pixels.shape[2]), np.uint8)
    canvas[: content[0], : content[1]] = pixels
    canvas[content[0] :] = canvas[: content[0], content[1] :] = mean_color(spec.input)
    return NetworkInput(torch.from_numpy(canvas).permute(2, 0, 1), content, size)


def mirrored(item: NetworkInput) -> NetworkInput:
    """Give the same image, left and right changed; its padding stays where it is."""
    pixels = item.pixels.clone()
    width = item.content[1]
    pixels[..., :width] = item.pixels[..., :width].flip(-1)
    return replace(item, pixels=pixels)


def mean_color(rule: InputRule) -> tuple[int, ...]:
    """Give the 8-bit colour, in the network's channel order, that normalises to almost zero."""
    return tuple(round(255 * mean) for mean in rule.mean)


def normalise(images: Tensor, rule: InputRule) -> Tensor:
    """Map uint8 ``[B, C, h, w]`` to the float32 numbers that the network was trained with, on the same device."""
    mean = torch.tensor(rule.mean, device=images.device).mul_(255).view(-1, 1, 1)
    std = torch.tensor(rule.std, device=images.device).mul_(255).view(-1, 1, 1)
    return images.float().sub_(mean).div_(std)


def _upright(image: Image.Image) -> Image.Image:
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    except (OSError, SyntaxError, TypeError, ValueError, KeyError, struct.error):
        return image  # broken EXIF says nothing about the pixels, and every viewer shows them as they lie
    if orientation == 1 or orientation not in range(2, 9):
        return image
    method = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_270,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_90,
    }[orientation]
    return image.transpose(method)


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode == "I" or image.mode.startswith("I;16"):
        return _eight_bits(image).convert("RGB")
    if image.mode in _HAS_ALPHA or "transparency" in image.info:
        return _on_white(image.convert("RGBA"))
    if image.mode == "RGB":
        return image
    if image.mode in _CONVERTS_TO_RGB:
        return image.convert("RGB")
    raise UnsupportedMode(f"pixels of mode {image.mode} cannot be read as colours")


def _eight_bits(image: Image.Image) -> Image.Image:
    """Keep the upper eight of 16 bits; Pillow's own conversion would clip at 255."""
    values = np.asarray(image)
    if image.mode == "I":
        values = values.clip(0, 65535)
    return Image.fromarray((values >> 8).astype(np.uint8))


def _on_white(image: Image.Image) -> Image.Image:
    canvas = Image.new("RGBA", image.size, "white")
    canvas.alpha_composite(image)
    return canvas.convert("RGB")
