"""Read the config.json that segmentation-models-pytorch writes beside its weights, trusting nothing of it.

A field that is absent has the default of that package; a value that our networks do not know is refused, never ignored.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from model_zoo.backbones import DEPTH
from model_zoo.labels import IGNORE_INDEX
from model_zoo.spec import Argument
from training.complaints import first_complaint, shown
from training.errors import InvalidImport
from training.importing.smp_encoders import ENCODERS, SmpEncoder, find_encoder
from training.importing.texts import read_text

BINARY_ACTIVATIONS = (None, "identity", "sigmoid")
ACTIVATIONS = (None, "identity", "softmax", "softmax2d", "logsoftmax", "argmax2d")
"""What may come after the logits: all leave the largest the largest, and so the mask as it is."""
BATCH_NORM: tuple[object, ...] = (True, "batchnorm", {"type": "batchnorm"})

Channels = Annotated[int, Field(ge=1, le=1024)]
AtrousRate = Annotated[int, Field(ge=1, le=99)]
Share = Annotated[float, Field(ge=0, lt=1)]


class SmpConfig(BaseModel):
    """Hold what all their networks are told."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, validate_default=True)
    architecture: ClassVar[str]

    model_class: str = Field(alias="_model_class")
    encoder_name: str = "resnet34"
    encoder_depth: int = DEPTH
    encoder_weights: str | bool | None = None
    in_channels: Literal[3] = 3
    classes: int = Field(default=1, ge=1, le=IGNORE_INDEX)
    activation: str | None = None
    aux_params: Mapping[str, Any] | None = None

    @property
    def encoder(self) -> SmpEncoder:
        """What the encoder is here."""
        return find_encoder(self.encoder_name)

    def arguments(self) -> dict[str, Argument]:
        """Give the arguments of our architecture."""
        raise NotImplementedError

    @field_validator("encoder_name")
    @classmethod
    def _is_known(cls, name: str) -> str:
        find_encoder(name)
        return name

    @field_validator("activation")
    @classmethod
    def _keeps_the_mask(cls, activation: str | None, info: ValidationInfo) -> str | None:
        allowed = BINARY_ACTIVATIONS if info.data.get("classes") == 1 else ACTIVATIONS
        if activation not in allowed:
            raise ValueError(f"a mask has one class a pixel, so that only {', '.join(map(str, allowed))} would fit")
        return activation


class UnetConfig(SmpConfig):
    """Hold what ``Unet`` is told."""

    architecture = "unet_encoder"

    encoder_depth: int = Field(default=DEPTH, ge=3, le=DEPTH)
    decoder_channels: tuple[Channels, ...] = (256, 128, 64, 32, 16)
    decoder_use_norm: object = "batchnorm"
    decoder_use_batchnorm: object = True
    decoder_attention_type: None = None
    decoder_interpolation: Literal["nearest"] = "nearest"

    def arguments(self) -> dict[str, Argument]:
        """Give the arguments of our architecture."""
        return {
            "encoder": self.encoder.name,
            "widths": "-".join(map(str, self.decoder_channels)),
            "center": self.encoder.has_center,
            "late_maps": self.encoder.late_maps,
        }

    @field_validator("decoder_channels")
    @classmethod
    def _are_as_many_as_the_encoder_is_deep(cls, channels: tuple[int, ...], info: ValidationInfo) -> tuple[int, ...]:
        depth = info.data.get("encoder_depth")
        if depth is not None and len(channels) != depth:
            raise ValueError(f"an encoder_depth of {depth} needs {depth} widths")
        return channels

    @field_validator("decoder_use_norm", "decoder_use_batchnorm")
    @classmethod
    def _is_batch_norm(cls, norm: object) -> object:
        if norm not in BATCH_NORM:
            raise ValueError("only batchnorm would fit")
        return norm


class DeepLabV3PlusConfig(SmpConfig):
    """Hold what ``DeepLabV3Plus`` is told."""

    architecture = "deeplabv3plus"

    encoder_depth: Literal[5] = 5
    encoder_output_stride: Literal[8, 16] = 16
    decoder_channels: Channels = 256
    decoder_atrous_rates: tuple[AtrousRate, AtrousRate, AtrousRate] = (12, 24, 36)
    decoder_aspp_separable: Literal[True] = True
    decoder_aspp_dropout: Share = 0.5
    upsampling: Literal[4] = 4

    def arguments(self) -> dict[str, Argument]:
        """Give the arguments of our architecture."""
        return {
            "encoder": self.encoder.name,
            "output_stride": self.encoder_output_stride,
            "dilates_strided": self.encoder.dilates_strided,
            "atrous_rates": "-".join(map(str, self.decoder_atrous_rates)),
            "decoder_channels": self.decoder_channels,
            "pool_norm": "batch",
            "align_corners": True,
            "drop_rate": float(self.decoder_aspp_dropout),
        }

    @field_validator("encoder_name")
    @classmethod
    def _can_be_dilated(cls, name: str) -> str:
        if not find_encoder(name).can_be_dilated:
            others = ", ".join(other for other, encoder in ENCODERS.items() if encoder.can_be_dilated)
            raise ValueError(f"its strides cannot become dilation, only those of {others} can")
        return name


class FpnConfig(SmpConfig):
    """Hold what ``FPN`` is told."""

    architecture = "fpn"

    encoder_depth: Literal[5] = 5
    decoder_pyramid_channels: Channels = 256
    decoder_segmentation_channels: Channels = 128
    decoder_merge_policy: Literal["add", "cat"] = "add"
    decoder_dropout: Share = 0.2
    decoder_interpolation: Literal["nearest"] = "nearest"
    upsampling: Literal[4] = 4

    def arguments(self) -> dict[str, Argument]:
        """Give the arguments of our architecture."""
        return {
            "encoder": self.encoder.name,
            "late_maps": self.encoder.late_maps,
            "pyramid_channels": self.decoder_pyramid_channels,
            "segmentation_channels": self.decoder_segmentation_channels,
            "merge": self.decoder_merge_policy,
            "align_corners": True,
            "drop_rate": float(self.decoder_dropout),
        }


CONFIGS: Mapping[str, type[SmpConfig]] = {"Unet": UnetConfig, "DeepLabV3Plus": DeepLabV3PlusConfig, "FPN": FpnConfig}


class _Kind(BaseModel):
    model_config = ConfigDict(strict=True)

    model_class: str = Field(alias="_model_class")


def read_config(path: Path) -> SmpConfig:
    """Read what a network is.

    Raises:
        InvalidImport: the file is missing, is no config of that package, or tells of a network that the zoo lacks.
        OSError: it may not be read.
    """
    if not path.is_file():
        raise InvalidImport(f"{path}: there is no such file; save_pretrained writes one beside the weights")
    text = read_text(path)
    try:
        kind = _Kind.model_validate_json(text).model_class
        if kind in CONFIGS:
            return CONFIGS[kind].model_validate_json(text)
    except ValidationError as error:
        raise InvalidImport(f"{path}: {first_complaint(error)}") from error
    raise InvalidImport(
        f"{path}: _model_class = {shown(repr(kind))}: the zoo has no such network, only {', '.join(CONFIGS)}"
    )
