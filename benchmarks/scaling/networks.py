"""Make the checkpoints that points serve: with more or fewer classes, and many of the same."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from benchmarks.scaling.points import Point
from benchmarks.serving.networks import FOLDER, SHIPPED, find_network
from model_zoo import checkpoint
from model_zoo.architectures import build
from model_zoo.card import Card
from model_zoo.labels import voc_palette

_OF_CLASSES = ("score.weight", "score.bias")
"""The tensors of the shipped architecture that have a row for each class."""

_DIFFERENCE = 0.1
"""Of a copied class from its original, in deviations of the weights."""


def network_of(point: Point) -> Path:
    """Give the checkpoint of a point, or the folder of them; what is missing is written."""
    kind, _, count = point.network.partition("classes-")
    network = find_network(point.network) if kind else _with_classes(int(count))
    assert network is not None
    return network if point.num_models == 1 else _copies(network, point.num_models)


def model_names(count: int) -> list[str]:
    """Name the copies."""
    return [f"copy-{number:02}" for number in range(count)]


def _with_classes(count: int) -> Path:
    """Write the shipped checkpoint with its first classes, or with so many more that are nearly copies of them.

    So masks keep the shapes that masks have: weights that were drawn would give ragged ones.
    """
    loaded, path = checkpoint.load(SHIPPED), FOLDER / f"classes-{count}{checkpoint.SUFFIX}"
    names, colors = tuple(f"class {number}" for number in range(count)), tuple(voc_palette(count))
    spec = loaded.header.spec.model_copy(update={"classes": names, "palette": colors, "label_space": "custom"})
    network, draw = build(spec.architecture, count, spec.arguments).eval(), torch.Generator().manual_seed(0)
    state = loaded.network.state_dict()
    network.load_state_dict({**state, **{key: _grown(state[key], count, draw) for key in _OF_CLASSES}})
    path.parent.mkdir(parents=True, exist_ok=True)
    checkpoint.save(path, network, Card(name=path.stem, spec=spec), dtype="float16")
    return path


def _grown(rows: Tensor, count: int, draw: torch.Generator) -> Tensor:
    """Give the first rows, and past the last one copies of those of the foreground that differ a little."""
    if len(rows) >= count:
        return rows[:count]
    more = rows[[1 + number % (len(rows) - 1) for number in range(count - len(rows))]]
    return torch.cat([rows, more + _DIFFERENCE * rows.std() * torch.randn(more.shape, generator=draw)])


def _copies(network: Path, count: int) -> Path:
    """Write a checkpoint under so many names into a folder of their own, if they are not there."""
    loaded, folder = checkpoint.load(network), FOLDER / f"copies-{count}"
    if len(list(folder.glob(f"*{checkpoint.SUFFIX}"))) == count:
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    for name in model_names(count):
        card = Card(name=name, spec=loaded.header.spec)
        checkpoint.save(folder / f"{name}{checkpoint.SUFFIX}", loaded.network, card, dtype="float16")
    return folder
