"""Run one row of a suite: train it, stage by stage, score it, and give all that is told of it."""

from __future__ import annotations

import csv
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import torch

from benchmarks.reproductions.suites import BASE, PLAIN, Row, Suite, merge
from model_zoo import checkpoint
from training.datasets import Sample, SegmentationDataset, open_dataset
from training.datasets.subset import Subset, take_share
from training.environment import environment
from training.evaluation.evaluate import assess
from training.evaluation.inference import Inference
from training.evaluation.metrics import ConfusionMatrix
from training.evaluation.scores import score_values
from training.initial import make_network
from training.loop import fit
from training.provenance import code_commit
from training.recipe import HOW_NOT_WHAT, Recipe, read_recipe
from training.run_folder import LAST, METRICS

LEGACY_IMAGES = 13
"""How many images the re-implementation validated on."""

WORDS = frozenset({"name", "description", "licences", "val_name"})
"""The fields of a recipe that say what is written beside the weights."""

Point = tuple[int, float, float | None]
"""A step, the mean loss of the epoch that ended there, and the mIoU if it was validated."""


def run_row(suite: Suite, row: Row, seed: int, out: Path) -> dict[str, Any]:
    """Train and score a row with a seed in its own folder; what is done there already is not done again.

    Raises:
        TrainingError: a run cannot be made, or its folder holds one of another recipe.
    """
    folder = out / suite.name / f"{row.name}-{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "log.txt").open("a") as log, redirect_stdout(log), redirect_stderr(log):
        recipes = list(stage_recipes(suite, row, seed, folder))
        for stage, recipe in enumerate(recipes):
            fit(recipe, _stage_folder(folder, stage))
        started = time.monotonic()
        last = _stage_folder(folder, len(recipes) - 1) / LAST
        found = {
            "row": row.name,
            "seed": seed,
            "recipe": settings_of(suite, row, seed),
            "commit": code_commit(),
            "environment": dict(environment()),
            **curve_of(folder, len(recipes)),
            **scores_of(suite, row, recipes[-1], last),
            "unmoved": unmoved_weights(recipes[-1], last) if row.name == BASE or row.section == "zeros" else [],
        }
    return {**found, "score_seconds": round(time.monotonic() - started, 1)}


def stage_recipes(suite: Suite, row: Row, seed: int, folder: Path) -> Iterator[Recipe]:
    """Give the recipe of each stage, with about as many steps between validations as the suite says."""
    for recipe in changed_recipes(suite, row, seed, folder):
        num_images = sum(len(take_share(open_dataset(name), recipe.train_share)) for name in recipe.train)
        epochs = max(1, round(suite.val_steps * recipe.batch_size / num_images))
        yield recipe.model_copy(update={"validate_every": epochs})


def changed_recipes(suite: Suite, row: Row, seed: int, folder: Path) -> Iterator[Recipe]:
    """Give the base as it is changed for each stage; together they have the steps of the base."""
    base = read_recipe(str(suite.base), suite.changes)
    total, done = base.steps or 0, 0
    for stage, stage_changes in enumerate(row.stages):
        ends = total * (stage + 1) // len(row.stages)
        changes: dict[str, Any] = merge(row.changes, stage_changes)
        changes["arguments"] = {**base.arguments, **changes.get("arguments", {})}
        changes.update(seed=seed, steps=ends - done)
        if stage:
            changes.update(init_from=str(_stage_folder(folder, stage - 1) / LAST), encoder_weights=None)
        yield read_recipe(str(suite.base), merge(suite.changes, changes))
        done = ends


def settings_of(suite: Suite, row: Row, seed: int) -> dict[str, Any]:
    """Say by what a row is known: its changes of the base, and what the base is."""
    base = read_recipe(str(suite.base), suite.changes)
    return {
        "base": base.model_dump(mode="json", exclude_defaults=True, exclude=set(WORDS | HOW_NOT_WHAT)),
        "changes": dict(row.changes),
        "stages": [dict(stage) for stage in row.stages],
        "views": list(row.views),
        "shift_step": suite.shift_step,
        "val_steps": suite.val_steps,
        "seed": seed,
    }


def curve_of(folder: Path, num_stages: int) -> dict[str, Any]:
    """Read the curves of the stages, one behind the other, and how long they took."""
    points: list[Point] = []
    seconds = 0.0
    for stage in range(num_stages):
        with (_stage_folder(folder, stage) / METRICS).open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        before = points[-1][0] if points else 0
        for row in rows:
            miou = round(float(row["val_miou"]), 5) if row["val_miou"] else None
            points.append((before + int(row["step"]), round(float(row["loss"]), 5), miou))
        seconds += float(rows[-1]["seconds"])
    return {"curve": points, "last_loss": points[-1][1], "train_seconds": round(seconds, 1)}


def scores_of(suite: Suite, row: Row, recipe: Recipe, path: Path) -> dict[str, Any]:
    """Score the last checkpoint on the whole validation list, and on the first training images of the list."""
    loaded = checkpoint.load(path)
    spec, network = loaded.header.spec, loaded.network
    val, seen = open_dataset(recipe.val), first_images(recipe)
    scores: dict[str, Any] = {}
    for view in row.views:
        how = Inference() if view == PLAIN else Inference(shift_step=suite.shift_step)
        first = FirstImages(spec.num_classes, LEGACY_IMAGES)
        found = assess(network, spec, val, how, watch=first.watch)
        values = score_values(found, spec.classes)
        kept = ("miou", "miou_95", "pixel_accuracy", "legacy_fg_iou", "iou", "num_images")
        scores[view] = {name: values[name] for name in kept}
        scores[view]["legacy_fg_iou_13"] = first.matrix.legacy_fg_iou
    return {
        "scores": _all_rounded(scores),
        "first_train_miou": _rounded(assess(network, spec, seen, Inference()).scores.mean_iou),
        "first_train_images": len(seen),
        "num_parameters": sum(parameter.numel() for parameter in network.parameters()),
    }


def first_images(recipe: Recipe) -> SegmentationDataset:
    """Give those images of the first training set that a window would see that slides by one image."""
    train = take_share(open_dataset(recipe.train[0]), recipe.train_share)
    width = min(recipe.batch_size, len(train))
    return Subset(train, list(range(len(train) // width + width - 1)))


class FirstImages:
    """Count the first images of an evaluation alone."""

    def __init__(self, num_classes: int, num_images: int) -> None:
        self.matrix = ConfusionMatrix(num_classes)
        self._left = num_images

    def watch(self, _sample: Sample, _mask: torch.Tensor, one: ConfusionMatrix) -> None:
        """Look at one image."""
        if self._left:
            self._left -= 1
            self.matrix.add(one)


def unmoved_weights(recipe: Recipe, path: Path) -> list[str]:
    """Name the weights outside of the encoder that are as they were before training; a layer, if all of its are."""
    loaded = checkpoint.load(path)
    torch.manual_seed(recipe.seed)
    before = dict(make_network(recipe, loaded.header.spec).named_parameters())
    layers: dict[str, dict[str, bool]] = {}
    for name, weight in loaded.network.named_parameters():
        if not name.startswith("encoder."):
            layers.setdefault(name.rpartition(".")[0], {})[name] = torch.equal(weight, before[name])
    return sorted(
        unmoved
        for layer, weights in layers.items()
        for unmoved in ([layer] if all(weights.values()) else [name for name, stays in weights.items() if stays])
    )


def _stage_folder(folder: Path, stage: int) -> Path:
    return folder / f"stage-{stage + 1}"


def _all_rounded(value: Any) -> Any:  # noqa: ANN401  # what JSON can hold
    if isinstance(value, Mapping):
        return {name: _all_rounded(entry) for name, entry in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_all_rounded(entry) for entry in value]
    return _rounded(value) if isinstance(value, float) else value


def _rounded(value: float | None) -> float | None:
    return None if value is None or value != value else round(value, 5)  # noqa: PLR0124  # NaN differs from itself
