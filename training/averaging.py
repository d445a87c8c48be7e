"""Average the weights of several runs: as quick as one network, and often better than the best of them.

Wortsman et al. 2022, "Model soups", https://arxiv.org/abs/2203.05482: fine-tuned networks that began with the same
weights lie in one basin, and their mean in its middle. Networks that began apart have no such mean.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import nn

from model_zoo import checkpoint
from model_zoo.card import Averaged, Card, CheckpointHeader, DatasetRecord, Training
from model_zoo.spec import ModelSpec
from training.datasets import SegmentationDataset
from training.environment import hide_homes
from training.errors import InvalidOption
from training.evaluation.evaluate import evaluate, metrics_of
from training.targets import check_target


@dataclass(frozen=True, slots=True)
class Exam:
    """Hold the set that a mean of weights is scored on, and what the card calls it."""

    dataset: SegmentationDataset
    name: str


def average_checkpoints(
    sources: Sequence[Path], out: Path, *, exam: Exam | None = None, command: str | None = None, overwrite: bool = False
) -> CheckpointHeader:
    """Write the mean of the weights of ``sources``, each counting alike, with the name and the dtype of the first.

    Statistics of batch norm are averaged as weights are; that is exact where they were frozen.

    Raises:
        InvalidOption: there is only one source, they are not of one spec, or ``out`` cannot or shall not be written.
        BadCheckpoint: a source is no checkpoint, or is damaged.
        InvalidDataset: the exam's classes are others, or a sample cannot be read.
        OSError: the file cannot be written.
    """
    check_target(out, option="--out", suffix=checkpoint.SUFFIX, sources=sources, overwrite=overwrite)
    if len(sources) < 2:
        raise InvalidOption(f"{len(sources)} checkpoint has no mean; name 2 or more")
    loaded = [checkpoint.load(source) for source in sources]
    first = loaded[0].header
    for source, other in zip(sources, loaded, strict=True):
        if wrong := _difference(first.spec, other.header.spec):
            raise InvalidOption(f"{source} has another {wrong} than {sources[0]}")
    records = [one.header.training for one in loaded]
    card = Card(
        name=first.name,
        description=first.description,
        spec=first.spec,
        training=_in_common(records).model_copy(
            update={
                "averaged": tuple(_part(*one) for one in zip(sources, records, strict=True)),
                "command": hide_homes(command) if command else None,
            }
        ),
    )
    network = _mean([one.network for one in loaded])
    if exam is None:
        return checkpoint.save(out, network, card, dtype=first.dtype)
    with TemporaryDirectory() as folder:
        unscored = Path(folder) / out.name
        checkpoint.save(unscored, network, card, dtype=first.dtype)
        saved = checkpoint.load(unscored).network  # what a reader of the file finds, rounded as it is
    scores = evaluate(saved, card.spec, exam.dataset)
    metrics = metrics_of(scores, card.spec, dataset=exam.name, num_images=len(exam.dataset))
    return checkpoint.save(out, saved, card.model_copy(update={"metrics": metrics}), dtype=first.dtype)


def _difference(one: ModelSpec, other: ModelSpec) -> str | None:
    fields = ModelSpec.model_fields
    return next((field for field in fields if getattr(one, field) != getattr(other, field)), None)


def _mean(networks: Sequence[nn.Module]) -> nn.Module:
    """Give the first network with the mean of all weights; counters stay those of the first."""
    states = [network.state_dict() for network in networks]
    networks[0].load_state_dict(
        {
            name: torch.stack([state[name] for state in states]).mean(0) if value.is_floating_point() else value
            for name, value in states[0].items()
        }
    )
    return networks[0]


def _in_common(records: Sequence[Training]) -> Training:
    """Keep what all runs share; the datasets are those of any."""
    first, *others = records
    recipe = {
        name: value
        for name, value in first.recipe.items()
        if all(name in other.recipe and other.recipe[name] == value for other in others)
    }
    datasets: list[DatasetRecord] = []
    for dataset in (dataset for record in records for dataset in record.datasets):
        if dataset not in datasets:
            datasets.append(dataset)
    shared = {
        field: getattr(first, field)
        for field in ("seed", "commit", "initial_weights")
        if all(getattr(other, field) == getattr(first, field) for other in others)
    }
    return Training(datasets=tuple(datasets), recipe=recipe, **shared)


def _part(source: Path, record: Training) -> Averaged:
    path = source.absolute()
    with source.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Averaged(name=f"{path.parent.name}/{path.name}", sha256=digest, commit=record.commit, command=record.command)
