"""Translate the names of the weights of torchvision's segmentation networks into those of the zoo."""

from __future__ import annotations

from collections.abc import Mapping

PARTS: Mapping[str, str] = {"backbone": "encoder.features", "classifier": "head", "aux_classifier": "auxiliary"}
"""The parts of a network: their names in torchvision, and here. Inside of them the names are the same."""


def from_torchvision(name: str) -> str:
    """Give the name that a weight has here; the name itself, where no network of torchvision has such a part."""
    part, separator, rest = name.partition(".")
    return f"{PARTS.get(part, part)}{separator}{rest}"


def to_torchvision(name: str) -> str:
    """Give the name that a weight of ``fcn_resnet``, ``deeplabv3`` or ``lraspp`` has in torchvision."""
    theirs, ours = next((pair for pair in PARTS.items() if name.startswith(f"{pair[1]}.")), ("", ""))
    return theirs + name.removeprefix(ours)
