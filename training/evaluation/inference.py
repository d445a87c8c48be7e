"""Find the logits of an image with more care than serving takes: several sizes, mirrored, in parts, or refined.

Letters: C classes, h and w size at which the network sees the image.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from model_zoo.architectures.fcn import FCN32s
from model_zoo.predict import mean_of_views, network_batch
from model_zoo.preprocess import network_size, sized_input
from model_zoo.shift_and_stitch import shift_and_stitch
from model_zoo.spec import ModelSpec
from model_zoo.tiling import Run, overlap_tile, sliding_window
from training.errors import InvalidOption
from training.evaluation.crf import Crf, refine

LARGEST_SCALE = 4.0
SHIFTS_AT_ONCE = 16


@dataclass(frozen=True, slots=True)
class Inference:
    """Say how the logits of an image are found; as it is by default, just as serving finds them.

    ``scales`` are relative to the size at which the network sees the image; ``flip`` adds the mirrored image to each;
    ``window`` is the side of sliding windows and ``overlap`` what neighbours share; ``tile`` is the side of tiles that
    touch and ``margin`` what the network sees around each; ``shift_step`` has FCN-32s score a pixel every so many, by
    ``(32 / shift_step)**2`` passes over the shifted image. ``crf`` refines what all views together give, at the size at
    which the network sees the image: there memory is bounded by the size rule, not by the image.

    Raises:
        InvalidOption: a value cannot be used, or two of windows, tiles and shifts are asked for.
    """

    scales: tuple[float, ...] = (1.0,)
    flip: bool = False
    window: int | None = None
    overlap: float = 0.5
    tile: int | None = None
    margin: int = 96
    shift_step: int | None = None
    crf: Crf | None = None

    def __post_init__(self) -> None:
        for scale in self.scales:
            if not 0 < scale <= LARGEST_SCALE:
                raise InvalidOption(f"scale {scale} is not above 0 and at most {LARGEST_SCALE}")
        for name, side in (("window", self.window), ("tile", self.tile)):
            if side is not None and side < 1:
                raise InvalidOption(f"{name} {side} px is below 1")
        if self.shift_step is not None and (self.shift_step < 1 or FCN32s.stride % self.shift_step):
            raise InvalidOption(f"shift_step {self.shift_step} px does not divide {FCN32s.stride} px")
        if sum(parts is not None for parts in (self.window, self.tile, self.shift_step)) > 1:
            raise InvalidOption("window, tile and shift_step exclude each other")
        if not 0 <= self.overlap < 1:
            raise InvalidOption(f"overlap {self.overlap} is not at least 0 and below 1")
        if self.margin < 0:
            raise InvalidOption(f"margin {self.margin} px is below 0")


@torch.inference_mode()
def infer(network: nn.Module, image: Image.Image, spec: ModelSpec, how: Inference) -> Tensor:
    """Give the logits ``[C, h, w]`` of an upright RGB image; of several views, the log of their mean probability."""
    content = network_size((image.height, image.width), spec.size)
    views = [
        _view(network, image, spec, how, (_scaled(content[0], scale), _scaled(content[1], scale)), flip=flip)
        for scale in how.scales
        for flip in ((False, True) if how.flip else (False,))
    ]
    logits = mean_of_views([_resized(logits, content) for logits in views])
    if how.crf is None:
        return logits
    pixels = np.array(image.resize((content[1], content[0]), Image.Resampling.BILINEAR))  # [h, w, 3]
    return refine(logits, torch.from_numpy(pixels).permute(2, 0, 1), how.crf)


def _scaled(side: int, scale: float) -> int:
    return max(1, round(side * scale))


def _view(  # noqa: PLR0913  # how one view differs from another
    network: nn.Module, image: Image.Image, spec: ModelSpec, how: Inference, content: tuple[int, int], *, flip: bool
) -> Tensor:
    if flip:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    batch = network_batch(network, [sized_input(image, content, spec)], spec)
    logits = _in_parts(network, how)(batch)[0, :, : content[0], : content[1]]
    return logits.flip(-1) if flip else logits


def _in_parts(network: nn.Module, how: Inference) -> Run:
    def run(images: Tensor) -> Tensor:
        logits: Tensor = network(images).logits
        return logits

    if how.window is not None:
        return partial(sliding_window, run, side=how.window, overlap=how.overlap)
    if how.tile is not None:
        return partial(overlap_tile, run, side=how.tile, margin=how.margin)
    if how.shift_step is not None:
        return partial(_stitched, network, step=how.shift_step)
    return run


def _stitched(network: nn.Module, images: Tensor, *, step: int) -> Tensor:
    """Give logits ``[1, C, h, w]`` from scores of every ``step``-th pixel."""
    if not isinstance(network, FCN32s):
        raise InvalidOption(f"shift_step is made for fcn32s, not for {type(network).__name__}")
    try:
        scores = shift_and_stitch(
            network.coarse_scores, images, stride=network.stride, step=step, shifts_at_once=SHIFTS_AT_ONCE
        )
    except ValueError as error:
        raise InvalidOption(f"shift_step {step}: {error}") from error
    height, width = images.shape[-2:]
    return F.interpolate(scores, scale_factor=step, mode="bilinear", align_corners=False)[..., :height, :width]


def _resized(logits: Tensor, size: tuple[int, int]) -> Tensor:
    if logits.shape[1:] == size:
        return logits
    return F.interpolate(logits[None], size, mode="bilinear", align_corners=False)[0]
