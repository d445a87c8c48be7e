"""Say what a model is: the frozen ModelSpec that travels inside every checkpoint.

Letters: B batch, C classes, H and W height and width in pixels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
    StringConstraints,
    model_validator,
)
from torch import Tensor
from torch.nn import functional as F

from model_zoo.labels import IGNORE_INDEX

Argument = StrictBool | StrictInt | StrictFloat | StrictStr
ColorByte = Annotated[int, Field(ge=0, le=255)]
Color = tuple[ColorByte, ColorByte, ColorByte]
Mean = Annotated[float, Field(ge=0, le=1)]
Deviation = Annotated[float, Field(ge=1e-4, le=10)]
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]
ClassName = Annotated[str, StringConstraints(min_length=1, max_length=200)]

SHOWN = 80
"""The most characters of a file's own words that a message repeats."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """Hold what a network gives for a batch: scores before any softmax.

    ``scores`` is ``[B, C, h, w]`` float, as fine as the network makes them. Where that is coarser than the images,
    ``size`` is the height and width that went in, to which they are to be upsampled bilinearly. ``auxiliary`` holds
    logits ``[B, C, H, W]``, by name, for training losses only; it is empty when the network is in eval mode.
    """

    scores: Tensor
    auxiliary: Mapping[str, Tensor] = field(default_factory=dict)
    size: tuple[int, int] | None = None
    align_corners: bool = False

    @property
    def logits(self) -> Tensor:
        """Give the scores upsampled, ``[B, C, H, W]`` float, of exactly the height and width that went in."""
        if self.size is None:
            return self.scores
        scores = self.scores.float()  # between 16-bit numbers there is little room for what lies between two of them
        return F.interpolate(scores, self.size, mode="bilinear", align_corners=self.align_corners)


class Frozen(BaseModel):
    """Be immutable and refuse fields that are not known."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class InputRule(Frozen):
    """Say how an image becomes numbers: ``(value / 255 - mean) / std`` for each channel.

    The EXIF orientation is applied, an alpha channel is blended onto white, and grey is repeated over the channels:
    the three fields that say so hold the only rule there is, so that a later rule is a new value and not a guess.
    """

    mean: tuple[Mean, ...] = (0.485, 0.456, 0.406)
    std: tuple[Deviation, ...] = (0.229, 0.224, 0.225)
    color_order: Literal["rgb", "bgr", "grey"] = "rgb"
    exif: Literal["apply"] = "apply"
    alpha: Literal["white"] = "white"
    grey: Literal["repeat"] = "repeat"

    @model_validator(mode="after")
    def _fit_channels(self) -> Self:
        channels = 1 if self.color_order == "grey" else 3
        if not len(self.mean) == len(self.std) == channels:
            raise ValueError(f"mean and std need {channels} values for {self.color_order}")
        return self


class SizeRule(Frozen):
    """Say at what size a network sees an image; the aspect ratio is always kept.

    ``native`` leaves the image as it is, ``longest`` shrinks it until its longer side is at most ``side`` (never
    enlarges), ``shortest`` scales it until its shorter side is ``side``. The right and lower borders are then padded
    with the mean colour up to the next multiple of ``multiple``.
    """

    policy: Literal["native", "longest", "shortest"] = "longest"
    side: int = Field(default=512, ge=32, le=8192)
    multiple: int = Field(default=32, ge=1, le=512)
    pad: Literal["mean"] = "mean"
    filter: Literal["bilinear"] = "bilinear"
    align_corners: Literal[False] = False


class ModelSpec(Frozen):
    """Say all that is needed to rebuild a network and to use it, but its weights.

    ``arguments`` are the keyword arguments of the architecture's builder; ``classes[i]`` and ``palette[i]`` are the
    name and colour of the pixels with value ``i``.
    """

    architecture: Name
    arguments: Mapping[str, Argument] = Field(default_factory=dict)
    classes: tuple[ClassName, ...] = Field(min_length=1, max_length=IGNORE_INDEX)
    palette: tuple[Color, ...]
    ignore_index: Literal[255] = 255
    label_space: Name = "custom"
    input: InputRule = InputRule()
    size: SizeRule = SizeRule()

    @model_validator(mode="after")
    def _fit_palette(self) -> Self:
        if len(self.palette) != len(self.classes):
            raise ValueError(f"{len(self.classes)} classes need as many colours, not {len(self.palette)}")
        if len(set(self.classes)) != len(self.classes):
            raise ValueError("class names must differ from each other")
        return self

    @property
    def num_classes(self) -> int:
        """Count the classes, background included."""
        return len(self.classes)
