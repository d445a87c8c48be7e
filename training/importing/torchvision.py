"""Recognise torchvision's segmentation networks by the names and shapes of their weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from torch import Tensor

from model_zoo.architectures.torchvision_names import from_torchvision, to_torchvision
from model_zoo.labels import IGNORE_INDEX, VOC_CLASSES
from model_zoo.spec import Argument, SizeRule
from training.errors import InvalidImport
from training.importing.fitting import advice, fitted, misfit, wanted_tensors
from training.importing.foreign import Foreign

ORIGIN = "torchvision's "
SIZE = SizeRule(policy="shortest", side=520, multiple=1)
"""How torchvision shows images to these networks; it pads none."""

SCORES = ("classifier.4.weight", "classifier.low_classifier.weight")
"""The layers whose outputs are the classes."""
AUXILIARY_SCORE = "aux_classifier.4.weight"


@dataclass(frozen=True, slots=True)
class Network:
    """Say what one of torchvision's networks is in this zoo."""

    architecture: str
    arguments: Mapping[str, Argument]
    has_auxiliary: bool = True


NETWORKS: Mapping[str, Network] = {
    "fcn_resnet50": Network("fcn_resnet", {"encoder": "resnet50"}),
    "fcn_resnet101": Network("fcn_resnet", {"encoder": "resnet101"}),
    "deeplabv3_resnet50": Network("deeplabv3", {"encoder": "resnet50", "pool_norm": "batch"}),
    "deeplabv3_resnet101": Network("deeplabv3", {"encoder": "resnet101", "pool_norm": "batch"}),
    "deeplabv3_mobilenet_v3_large": Network(
        "deeplabv3", {"encoder": "mobilenet_v3_large", "output_stride": 16, "pool_norm": "batch"}
    ),
    "lraspp_mobilenet_v3_large": Network("lraspp", {}, has_auxiliary=False),
}


@dataclass(frozen=True, slots=True)
class Found:
    """Name the network that weights belong to."""

    name: str
    num_classes: int
    has_auxiliary: bool


def read_torchvision(tensors: Mapping[str, Tensor]) -> Foreign:
    """Take weights as those of the network that they belong to.

    Raises:
        InvalidImport: they belong to none, or their values are no weights.
    """
    tensors, left_behind = _without_other_auxiliary(tensors)
    found = recognise(tensors)
    network = NETWORKS[found.name]
    weights = fitted(tensors, _wanted(found.name, found.num_classes, found.has_auxiliary))
    return Foreign(
        architecture=network.architecture,
        arguments=_arguments(network, found.has_auxiliary),
        num_classes=found.num_classes,
        weights={from_torchvision(name): tensor for name, tensor in weights.items()},
        origin=f"{ORIGIN}{found.name}{left_behind}",
        size=SIZE,
    )


def _without_other_auxiliary(tensors: Mapping[str, Tensor]) -> tuple[Mapping[str, Tensor], str]:
    """Leave an auxiliary head behind that has other classes than the main one, and say so.

    Whoever fine-tunes often replaces the last layer of the main head alone, and serving never runs the other.
    """
    main, other = (tensors.get(name) for name in (SCORES[0], AUXILIARY_SCORE))
    if main is None or other is None or not (main.ndim and other.ndim) or len(main) == len(other):
        return tensors, ""
    kept = {name: tensor for name, tensor in tensors.items() if not name.startswith("aux_classifier.")}
    return kept, f" without its auxiliary head of {len(other)} classes"


def recognise(tensors: Mapping[str, Tensor]) -> Found:
    """Find the network that has these names and shapes; no value is looked at.

    Raises:
        InvalidImport: there is none; the message says what does not fit the one that they are nearest to.
    """
    num_classes = next((len(tensors[name]) for name in SCORES if name in tensors and tensors[name].ndim), 0)
    if num_classes > IGNORE_INDEX:
        raise InvalidImport(f"has scores of {num_classes} classes, at most {IGNORE_INDEX} are allowed")
    has_auxiliary = any(name.startswith("aux_classifier.") for name in tensors)
    wanted = {name: _wanted(name, num_classes or len(VOC_CLASSES), has_auxiliary) for name in NETWORKS}
    nearest = max(wanted, key=lambda name: _likeness(tensors, wanted[name]))
    if not _likeness(tensors, wanted[nearest]):
        raise InvalidImport(f"no tensor is as in torchvision's {', '.join(NETWORKS)}; {_hint(tensors)}")
    wrong = misfit(tensors, wanted[nearest])
    if wrong:
        of_classes = f" of {num_classes} classes" if num_classes else ""
        raise InvalidImport(f"nearest to torchvision's {nearest}{of_classes}, but it {wrong}")
    return Found(nearest, num_classes, has_auxiliary and NETWORKS[nearest].has_auxiliary)


@lru_cache(maxsize=64)
def _wanted(name: str, num_classes: int, has_auxiliary: bool) -> Mapping[str, Tensor]:
    """Give the tensors of a network under torchvision's names, without values."""
    network = NETWORKS[name]
    ours = wanted_tensors(network.architecture, num_classes, _arguments(network, has_auxiliary))
    return {to_torchvision(name): tensor for name, tensor in ours.items()}


def _arguments(network: Network, has_auxiliary: bool) -> Mapping[str, Argument]:
    return {**network.arguments, "auxiliary": has_auxiliary} if network.has_auxiliary else network.arguments


def _likeness(tensors: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> float:
    """Give the share of all names, here or there, that have the same shape in both."""
    same = sum(name in tensors and tensors[name].shape == value.shape for name, value in wanted.items())
    return same / len(tensors.keys() | wanted.keys())


def _hint(tensors: Mapping[str, Tensor]) -> str:
    if any(name.startswith("segmentation_head.") for name in tensors):
        return "for segmentation-models-pytorch give the folder that save_pretrained writes, which says what it is"
    return advice(tensors) or "for weights with names of this zoo give a --spec file that says what they are"
