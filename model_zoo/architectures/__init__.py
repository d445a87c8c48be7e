"""List the architectures and build any of them from a checkpoint's words, checked before memory is allocated."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping

from pydantic import TypeAdapter, ValidationError
from torch import nn

from model_zoo.architectures.deeplabv3 import DeepLabV3
from model_zoo.architectures.deeplabv3plus import DeepLabV3Plus
from model_zoo.architectures.fcn import FCN8s, FCN16s, FCN32s
from model_zoo.architectures.fcn_resnet import FCNResNet
from model_zoo.architectures.fpn import FPN
from model_zoo.architectures.lraspp import LRASPP
from model_zoo.architectures.unet import UNet
from model_zoo.architectures.unet_encoder import EncoderUNet
from model_zoo.labels import IGNORE_INDEX
from model_zoo.spec import SHOWN

Builder = Callable[..., nn.Module]

ARCHITECTURES: Mapping[str, Builder] = {
    "fcn32s": FCN32s,
    "fcn16s": FCN16s,
    "fcn8s": FCN8s,
    "fcn_resnet": FCNResNet,
    "unet": UNet,
    "unet_encoder": EncoderUNet,
    "deeplabv3": DeepLabV3,
    "deeplabv3plus": DeepLabV3Plus,
    "fpn": FPN,
    "lraspp": LRASPP,
}
"""The builder of each architecture: ``builder(num_classes, **arguments)``.

The annotations of its keyword-only arguments say which values a checkpoint may ask for.
"""


def build(architecture: str, num_classes: int, arguments: Mapping[str, bool | int | float | str]) -> nn.Module:
    """Build a network with random weights; under ``torch.device("meta")`` this allocates nothing.

    Raises:
        ValueError: The architecture is unknown, or an argument is unknown, of the wrong type or out of its bounds.
    """
    if architecture not in ARCHITECTURES:
        raise ValueError(f"unknown architecture {architecture!r}, known are {', '.join(ARCHITECTURES)}")
    if not 1 <= num_classes <= IGNORE_INDEX:
        raise ValueError(f"{architecture} has {num_classes} classes, allowed are 1 to {IGNORE_INDEX}")
    builder = ARCHITECTURES[architecture]
    known = allowed_arguments(architecture)
    for name, value in arguments.items():
        if name not in known:
            raise ValueError(f"{architecture} has no argument {name[:SHOWN]!r}, known are {', '.join(known) or 'none'}")
        try:
            known[name].validate_python(value, strict=True)
        except ValidationError as error:
            raise ValueError(f"{architecture} has {name}={repr(value)[:SHOWN]}: {error.errors()[0]['msg']}") from error
    return builder(num_classes, **arguments)


def allowed_arguments(architecture: str) -> dict[str, TypeAdapter[object]]:
    """Give the keyword arguments of a builder, each with the check of its annotation."""
    parameters = inspect.signature(ARCHITECTURES[architecture], eval_str=True).parameters.values()
    return {p.name: TypeAdapter(p.annotation) for p in parameters if p.kind is p.KEYWORD_ONLY}
