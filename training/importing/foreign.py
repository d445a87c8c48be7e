"""Say what was found in somebody else's checkpoint, in the words of this zoo."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from model_zoo.spec import Argument, InputRule, SizeRule


@dataclass(frozen=True, slots=True)
class Foreign:
    """Hold a network of somebody else's as one of ours.

    ``weights`` have this zoo's names, all of them, and are on the CPU; ``origin`` says in a few words what it was, such
    as ``torchvision's fcn_resnet50``.
    """

    architecture: str
    arguments: Mapping[str, Argument]
    num_classes: int
    weights: Mapping[str, Tensor]
    origin: str
    input: InputRule = field(default_factory=InputRule)
    size: SizeRule = field(default_factory=SizeRule)
