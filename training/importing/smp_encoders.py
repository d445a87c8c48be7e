"""Say which encoders of segmentation-models-pytorch are this zoo's, and how their weights are called there.

Its own encoders are torchvision's networks; those whose names begin with ``tu-`` are timm's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from model_zoo.backbones import EncoderName
from model_zoo.efficientnet_lite import BLOCKS, LITE0, LITE1, LITE2, Scaling
from model_zoo.spec import InputRule

TIMM = "tu-"
TIMM_INPUT = InputRule(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
"""What timm shows to EfficientNet-Lite."""

_FIRST_BLOCK = {"depthwise.0": "conv_dw", "depthwise.1": "bn1", "project.0": "conv_pw", "project.1": "bn2"}
_LATER_BLOCKS = {
    "expand.0": "conv_pw",
    "expand.1": "bn1",
    "depthwise.0": "conv_dw",
    "depthwise.1": "bn2",
    "project.0": "conv_pwl",
    "project.1": "bn3",
}
"""The layers of an EfficientNet's block: their names here, and in timm."""


@dataclass(frozen=True, slots=True)
class SmpEncoder:
    """Say what an encoder of theirs is in this zoo; ``rename`` maps a name below ``Encoder.features`` to theirs."""

    name: EncoderName
    rename: Callable[[str], str]
    late_maps: bool = False
    dilates_strided: bool = True
    can_be_dilated: bool = True
    has_center: bool = False
    input: InputRule = field(default_factory=InputRule)


def find_encoder(name: str) -> SmpEncoder:
    """Look an encoder up by its name in segmentation-models-pytorch.

    Raises:
        ValueError: the zoo has none like it.
    """
    plain = name.partition(".")[0] if name.startswith(TIMM) else name  # timm's names end with a tag of the weights
    if plain not in ENCODERS:
        raise ValueError(f"the zoo has no such encoder, only {', '.join(ENCODERS)}")
    return ENCODERS[plain]


def _resnet(name: EncoderName) -> SmpEncoder:
    return SmpEncoder(name, str)


def _timm_resnet(name: EncoderName) -> SmpEncoder:
    return SmpEncoder(name, lambda layer: f"model.{layer}", dilates_strided=False)


def _vgg(name: EncoderName) -> SmpEncoder:
    return SmpEncoder(name, _below_features, late_maps=True, can_be_dilated=False, has_center=True)


def _below_features(layer: str) -> str:
    return f"features.{layer}"


def _timm_lite(name: EncoderName, scaling: Scaling) -> SmpEncoder:
    places = [(group, repeat) for group in range(len(BLOCKS)) for repeat in range(scaling.repeats(group))]

    def rename(name: str) -> str:
        index, rest = name.split(".", 1)
        layer, kind = rest.rsplit(".", 1)
        if index == "0":
            return f"model.{'conv_stem' if layer == '0' else 'bn1'}.{kind}"
        group, repeat = places[int(index) - 1]
        layers = _FIRST_BLOCK if group == 0 else _LATER_BLOCKS
        return f"model.blocks.{group}.{repeat}.{layers[layer]}.{kind}"

    return SmpEncoder(name, rename, late_maps=True, dilates_strided=False, input=TIMM_INPUT)


ENCODERS: Mapping[str, SmpEncoder] = {
    "resnet18": _resnet("resnet18"),
    "resnet34": _resnet("resnet34"),
    "resnet50": _resnet("resnet50"),
    "resnet101": _resnet("resnet101"),
    "vgg16": _vgg("vgg16"),
    "vgg16_bn": _vgg("vgg16_bn"),
    "mobilenet_v2": SmpEncoder("mobilenet_v2", _below_features),
    "tu-resnet18": _timm_resnet("resnet18"),
    "tu-resnet34": _timm_resnet("resnet34"),
    "tu-resnet50": _timm_resnet("resnet50"),
    "tu-resnet101": _timm_resnet("resnet101"),
    "tu-tf_efficientnet_lite0": _timm_lite("efficientnet_lite0", LITE0),
    "tu-tf_efficientnet_lite1": _timm_lite("efficientnet_lite1", LITE1),
    "tu-tf_efficientnet_lite2": _timm_lite("efficientnet_lite2", LITE2),
}
"""``timm-tf_efficientnet_lite0`` is not among them: it pads its strided convolutions evenly, and ours do not."""
