"""Gather all that a finished run can tell, from its folder and one look at every image it is validated on."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from model_zoo import checkpoint
from model_zoo.card import CheckpointHeader, DatasetRecord
from model_zoo.checkpoint import BadCheckpoint, Checkpoint
from training.datasets import open_dataset
from training.environment import environment
from training.errors import UnreadableRun
from training.evaluation.evaluate import Assessment, assess
from training.evaluation.extremes import Extremes
from training.evaluation.inference import Inference
from training.provenance import dataset_record
from training.recipe import Recipe, read_recipe
from training.run_folder import BEST, LAST, METRICS, RECIPE

NUM_EXTREMES = 6
COLUMNS = (
    "epoch", "loss", "lr", "val_miou", "val_pixel_accuracy", "gradient", "images_per_second", "waited", "seconds"
)  # fmt: skip
"""The columns of ``metrics.csv`` that are looked at; others may be there."""

Row = Mapping[str, float]
"""What ``metrics.csv`` tells of an epoch, by column; what is empty or no finite number there is absent."""


@dataclass(frozen=True, slots=True)
class Findings:
    """Hold what the report and the card of a run are made from.

    ``last`` is the checkpoint that ``found`` is about; ``best`` is there if a validation ever gave a score. ``val`` is
    the set that was scored, ``val_name`` what it is called.
    """

    recipe: Recipe
    last: CheckpointHeader
    num_parameters: int
    best: CheckpointHeader | None
    rows: Sequence[Row]
    val: DatasetRecord
    val_name: str
    found: Assessment
    extremes: Extremes
    environment: Mapping[str, str]

    @property
    def seconds(self) -> float | None:
        """Give how long the run took, if ``metrics.csv`` says so."""
        return self.rows[-1].get("seconds")

    @property
    def best_iou(self) -> float:
        """Give the mIoU that the best checkpoint had when it was saved; NaN if there is none."""
        metrics = self.best.metrics if self.best else ()
        return next((metric.value for metric in metrics if metric.name == "mIoU"), math.nan)

    @property
    def absent(self) -> list[str]:
        """Name the classes of which the set has no pixel."""
        ious = self.found.scores.iou.tolist()
        return [name for name, iou in zip(self.last.spec.classes, ious, strict=True) if math.isnan(iou)]


def examine_run(run: Path) -> Findings:
    """Read a run's folder and score its last checkpoint on the set that it is validated on.

    Raises:
        UnreadableRun: a file is missing or damaged.
        InvalidDataset: the set cannot be read, or has other classes.
    """
    recipe = _read_recipe(run)
    rows = read_rows(run / METRICS)
    last = _load(run / LAST)
    best = _load(run / BEST).header if (run / BEST).exists() else None
    dataset = open_dataset(recipe.val)
    extremes = Extremes(NUM_EXTREMES)
    network = last.network.to(recipe.device if torch.cuda.is_available() else "cpu")
    found = assess(network, last.header.spec, dataset, Inference(), watch=extremes.watch)
    val = dataset_record(recipe, recipe.val, dataset)
    return Findings(
        recipe=recipe,
        last=last.header,
        num_parameters=sum(parameter.numel() for parameter in network.parameters()),
        best=best,
        rows=rows,
        val=val,
        val_name=recipe.shown_val,
        found=found,
        extremes=extremes,
        environment=environment(),
    )


def read_rows(path: Path) -> list[Row]:
    """Read those of ``COLUMNS`` that a ``metrics.csv`` has; ``epoch`` must be among them.

    Raises:
        UnreadableRun: it is missing, or not such a table.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            lines = list(csv.DictReader(file, strict=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UnreadableRun(f"{path}: {_reason(error)}") from error
    if not lines:
        raise UnreadableRun(f"{path}: there is no epoch in it")
    return [_read_row(line, f"{path}, line {number}") for number, line in enumerate(lines, start=2)]


def _read_row(line: Mapping[str | None, str | None], where: str) -> Row:
    if None in line or None in line.values():
        raise UnreadableRun(f"{where}: there are {'more' if None in line else 'fewer'} values than columns")
    try:
        values = {column: float(line.get(column) or "nan") for column in COLUMNS}
    except ValueError as error:
        raise UnreadableRun(f"{where}: {error}") from error
    row = {column: value for column, value in values.items() if math.isfinite(value)}
    if "epoch" not in row:
        raise UnreadableRun(f"{where}: there is no epoch")
    return row


def _read_recipe(run: Path) -> Recipe:
    path = run / RECIPE
    if not path.is_file():
        raise UnreadableRun(f"{path}: No such file or directory")
    return read_recipe(str(path), {})


def _load(path: Path) -> Checkpoint:
    try:
        return checkpoint.load(path)
    except BadCheckpoint as error:
        raise UnreadableRun(str(error)) from error


def _reason(error: Exception) -> str:
    return error.strerror if isinstance(error, OSError) and error.strerror else str(error)
