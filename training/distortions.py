"""Draw what torchvision has not: shifts, elastic bends and choosy crops of both, motion blur and JPEG of the image.

Letters: C channels, H and W height and width, L length of the blur.
"""

from __future__ import annotations

import io
from typing import Any

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from torchvision import tv_tensors  # type: ignore[import-untyped]  # torchvision has no stubs
from torchvision.transforms import v2  # type: ignore[import-untyped]  # torchvision has no stubs
from torchvision.transforms.v2 import functional as vision  # type: ignore[import-untyped]  # torchvision has no stubs

from model_zoo.labels import IGNORE_INDEX

ELASTIC_GRID = 3
"""Points of the coarse grid, along each side, that U-Net's displacements are drawn on."""

CROP_DRAWS = 11
"""How often a crop is drawn at the most, until it holds enough: once, and ten times again, as in mmsegmentation."""

HIGHEST_QUALITY = 95
"""Above it, JPEG files grow and hardly lose less."""


class RandomShift(v2.Transform):  # type: ignore[misc]  # torchvision has no stubs
    """Move image and target by a whole number of pixels along each axis: the jitter of the FCN paper."""

    def __init__(self, pixels: int, color: list[int]) -> None:
        super().__init__()
        self._pixels = pixels
        self._color = color

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:  # noqa: ARG002  # torchvision's own signature
        """Draw how far to the right and down."""
        right, down = torch.randint(-self._pixels, self._pixels + 1, (2,)).tolist()
        return {"right": right, "down": down}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:  # noqa: ANN401  # torchvision's own signature
        """Move one of the two."""
        right, down = params["right"], params["down"]
        height, width = vision.get_size(inpt)
        border = [max(right, 0), max(down, 0), max(-right, 0), max(-down, 0)]
        padded = vision.pad(inpt, border, fill=_fill(inpt, self._color))
        return vision.crop(padded, max(-down, 0), max(-right, 0), height, width)


class RandomElastic(v2.Transform):  # type: ignore[misc]  # torchvision has no stubs
    """Bend image and target as U-Net's paper does: displacements on a 3x3 grid, bicubic in between.

    Ronneberger, Fischer, Brox 2015, https://arxiv.org/abs/1505.04597, section 3.1; there the deviation is 10 pixels.
    """

    def __init__(self, pixels: float, color: list[int]) -> None:
        super().__init__()
        self._pixels = pixels
        self._color = color

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """Draw how far each pixel is moved, ``[1, H, W, 2]``, in half sides of the image."""
        height, width = vision.get_size(flat_inputs[0])
        coarse = torch.randn(1, 2, ELASTIC_GRID, ELASTIC_GRID) * self._pixels
        fine = F.interpolate(coarse, (height, width), mode="bicubic", align_corners=True)  # [1, 2, H, W]
        return {"displacement": fine.permute(0, 2, 3, 1) * torch.tensor([2 / width, 2 / height])}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:  # noqa: ANN401  # torchvision's own signature
        """Bend one of the two: bilinear, and nearest for the target."""
        return vision.elastic(inpt, params["displacement"], fill=_fill(inpt, self._color))


class RandomCrop(v2.RandomCrop):  # type: ignore[misc]  # torchvision has no stubs
    """Cut one square out of image and target, padded where they are smaller, which no class fills alone.

    A crop without any label, or in which one class has more than ``class_share`` of what is labelled, is drawn again a
    few times; then the last one is taken (mmsegmentation's ``cat_max_ratio``). A share of 1 takes the first.
    """

    def __init__(self, side: int, class_share: float, color: list[int]) -> None:
        fill = {tv_tensors.Image: color, tv_tensors.Mask: IGNORE_INDEX}
        super().__init__(side, pad_if_needed=True, fill=fill)
        self._class_share = class_share

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """Draw the place."""
        (target,) = (inpt for inpt in flat_inputs if isinstance(inpt, tv_tensors.Mask))
        params: dict[str, Any] = super().make_params(flat_inputs)
        for _ in range(CROP_DRAWS - 1):
            if self._class_share >= 1 or self._holds_enough(self.transform(target, params)):
                break
            params = super().make_params(flat_inputs)
        return params

    def _holds_enough(self, target: Tensor) -> bool:
        counts = target.as_subclass(Tensor).flatten().bincount(minlength=IGNORE_INDEX + 1)[:IGNORE_INDEX]
        return bool(0 < counts.max() <= self._class_share * counts.sum())


class RandomBlur(v2.GaussianBlur):  # type: ignore[misc]  # torchvision has no stubs
    """Blur an image by a Gaussian; where the image is too small to be mirrored for it, by the middle of one."""

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:  # noqa: ANN401  # torchvision's own signature
        """Blur the image, and leave the target as it is."""
        largest = 2 * min(vision.get_size(inpt)) - 1
        kernel = [min(side, largest) for side in self.kernel_size]
        return self._call_kernel(vision.gaussian_blur, inpt, kernel, **params)


class RandomMotionBlur(v2.Transform):  # type: ignore[misc]  # torchvision has no stubs
    """Blur an image along a straight line of random direction and length."""

    _transformed_types = (tv_tensors.Image,)

    def __init__(self, pixels: int) -> None:
        super().__init__()
        self._pixels = pixels

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:  # noqa: ARG002  # torchvision's own signature
        """Draw the kernel, ``[L, L]``, which sums to one."""
        half = int(torch.randint(1, self._pixels // 2 + 1, ()))
        line = torch.zeros(1, 2 * half + 1, 2 * half + 1)
        line[:, half] = 1
        angle = float(torch.empty(()).uniform_(0, 180))
        kernel = vision.rotate(line, angle, interpolation=v2.InterpolationMode.BILINEAR)[0]
        return {"kernel": kernel / kernel.sum()}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:  # noqa: ANN401  # torchvision's own signature
        """Blur the image."""
        kernel = params["kernel"]
        half = len(kernel) // 2
        channels = inpt.as_subclass(Tensor).float()[:, None]  # [C, 1, H, W]
        padded = F.pad(channels, (half,) * 4, mode="replicate")
        blurred = F.conv2d(padded, kernel[None, None])[:, 0]  # [C, H, W]
        return tv_tensors.wrap(blurred.round_().clamp_(0, 255).to(torch.uint8), like=inpt)


class RandomJPEG(v2.Transform):  # type: ignore[misc]  # torchvision has no stubs
    """Lose of an image what JPEG loses; by Pillow, because torchvision is about to drop its own encoder."""

    _transformed_types = (tv_tensors.Image,)

    def __init__(self, lowest_quality: int) -> None:
        super().__init__()
        self._lowest_quality = lowest_quality

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:  # noqa: ARG002  # torchvision's own signature
        """Draw the quality, as Pillow counts it."""
        return {"quality": int(torch.randint(self._lowest_quality, HIGHEST_QUALITY + 1, ()))}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:  # noqa: ANN401  # torchvision's own signature
        """Encode and decode the image."""
        file = io.BytesIO()
        vision.to_pil_image(inpt).save(file, "JPEG", quality=params["quality"])
        with Image.open(file) as image:
            return vision.to_image(image)


def _fill(inpt: object, color: list[int]) -> int | list[int]:
    return IGNORE_INDEX if isinstance(inpt, tv_tensors.Mask) else color
