"""Train a network as a recipe says: one loop, from the first batch to the last checkpoint.

Letters: B batch, C channels, S side of the crop.
"""

from __future__ import annotations

import copy
import csv
import io
import math
import time
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import torch
from torch import Tensor, nn
from tqdm import tqdm  # type: ignore[import-untyped]  # tqdm has no stubs

from model_zoo import checkpoint
from model_zoo.architectures import build
from model_zoo.atomic import write_atomically
from model_zoo.backbones import Encoder, load_encoder_weights
from model_zoo.card import Card, Metric, Training
from model_zoo.preprocess import normalise
from model_zoo.spec import ModelSpec
from training.datasets import LabelSpace, Reference, SegmentationDataset, check_leaks, open_dataset
from training.errors import FolderNotEmpty, InvalidDataset, InvalidRecipe, NonFiniteLoss
from training.evaluate import evaluate, metrics_of
from training.loading import EpochBatches, TrainingBatch, TrainingSamples, training_loader
from training.losses import segmentation_loss
from training.metrics import ConfusionMatrix
from training.precision import keep_depthwise_float32
from training.provenance import training_record, weights_path
from training.recipe import Recipe
from training.schedule import learning_rate_factor, make_optimizer, set_learning_rates
from training.transforms import Augment

LAST = f"checkpoint-last{checkpoint.SUFFIX}"
BEST = f"checkpoint-best{checkpoint.SUFFIX}"
METRICS = "metrics.csv"
RECIPE = "recipe.toml"


@dataclass(frozen=True, slots=True)
class Validation:
    """Say what is validated on, and what a checkpoint tells of its making."""

    spec: ModelSpec
    name: str
    dataset: SegmentationDataset
    training: Training


def fit(recipe: Recipe, out: Path, *, command: str | None = None, overwrite: bool = False) -> ConfusionMatrix:
    """Train a network and give the scores of its last validation.

    The folder ``out`` then holds ``recipe.toml``, ``metrics.csv`` with one row an epoch, and the checkpoints
    ``checkpoint-last.safetensors`` and ``checkpoint-best.safetensors``, complete at every moment.

    Raises:
        TrainingError: recipe, data or folder cannot be used, or the loss is not finite.
        OSError: the folder cannot be written.
    """
    started = time.monotonic()
    if recipe.device == "cuda" and not torch.cuda.is_available():
        raise InvalidRecipe("device = cuda: this machine has no GPU that torch can use")
    torch.manual_seed(recipe.seed)
    train, val = [open_dataset(reference) for reference in recipe.train], open_dataset(recipe.val)
    check_leaks(train, val)
    spec = recipe.spec(_shared_labels([*train, val]))
    network = make_network(recipe, spec).to(memory_format=torch.channels_last).to(recipe.device)
    validation = Validation(spec, _val_name(recipe), val, training_record(recipe, train, command=command))
    _prepare_folder(out, recipe, overwrite=overwrite)

    samples = TrainingSamples(
        train, Augment(spec.input, spec.size, recipe.augmentation), seed=recipe.seed, cache=recipe.cache
    )
    batches = EpochBatches(len(samples), batch_size=recipe.batch_size, epochs=recipe.epochs, seed=recipe.seed)
    loader = training_loader(samples, batches, workers=recipe.workers)
    optimizer = make_optimizer(network, recipe)
    average = copy.deepcopy(network) if recipe.ema_decay else network
    bar = tqdm(loader, desc="fit", unit="step", disable=None)
    losses: list[float] = []
    scores: ConfusionMatrix | None = None
    best_iou = -math.inf

    network.train()
    for step, batch in enumerate(bar):
        factor = learning_rate_factor(step, len(batches), power=recipe.power, warmup_steps=recipe.warmup_steps)
        set_learning_rates(optimizer, factor)

        loss = batch_loss(network, batch, recipe, spec)
        losses.append(loss.item())
        epoch = 1 + step // batches.steps_per_epoch
        if not math.isfinite(losses[-1]):
            raise NonFiniteLoss(f"loss is {losses[-1]} in epoch {epoch}, step {step}: images {', '.join(batch.ids)}")
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch has no annotation here
        optimizer.step()
        if average is not network:
            update_average(average, network, decay=recipe.ema_decay)
        bar.set_postfix(epoch=epoch, loss=f"{losses[-1]:.3f}", refresh=False)

        if (step + 1) % batches.steps_per_epoch:
            continue
        scores = None
        if epoch % recipe.validate_every == 0 or epoch == recipe.epochs:
            scores = save_and_validate(out / LAST, average, recipe, validation)
            if scores.mean_iou > best_iou:
                best_iou = scores.mean_iou
                write_atomically(out / BEST, [(out / LAST).read_bytes()])
        row = EpochRow(
            epoch=epoch,
            step=step + 1,
            lr=recipe.lr * factor,
            loss=sum(losses) / len(losses),
            seconds=time.monotonic() - started,
            val_miou=scores.mean_iou if scores else None,
            val_pixel_accuracy=scores.pixel_accuracy if scores else None,
        )
        append_row(out / METRICS, row)
        bar.write(row.summary(recipe.epochs))
        losses.clear()
    assert scores is not None  # the last epoch is always validated
    return scores


@dataclass(frozen=True, slots=True)
class EpochRow:
    """Hold one line of ``metrics.csv``; scores are absent where the epoch was not validated."""

    epoch: int
    step: int
    lr: float
    loss: float
    seconds: float
    val_miou: float | None
    val_pixel_accuracy: float | None

    def summary(self, epochs: int) -> str:
        """Say it in a line for people, with the time that is left."""
        left = self.seconds / self.epoch * (epochs - self.epoch)
        line = f"epoch {self.epoch}/{epochs}  loss {self.loss:.4f}  {_clock(self.seconds)} gone, {_clock(left)} left"
        return line if self.val_miou is None else f"{line}  mIoU {self.val_miou:.4f}"


def make_network(recipe: Recipe, spec: ModelSpec) -> nn.Module:
    """Build the recipe's network, with the encoder's weights loaded and frozen where it says so.

    Raises:
        InvalidRecipe: the architecture cannot be built so, or the weights are missing or do not fit.
    """
    try:
        network = build(spec.architecture, spec.num_classes, spec.arguments)
    except ValueError as error:
        raise InvalidRecipe(str(error)) from error
    if recipe.precision == "bfloat16" and recipe.device == "cpu":
        keep_depthwise_float32(network)
    if recipe.encoder_weights is None:
        return network
    encoder = getattr(network, "encoder", None)
    if not isinstance(encoder, Encoder):
        raise InvalidRecipe(f"encoder_weights: {spec.architecture} has no encoder to load them into")
    try:
        load_encoder_weights(encoder, weights_path(recipe.encoder_weights))
    except ValueError as error:
        raise InvalidRecipe(str(error)) from error
    if recipe.freeze_encoder:
        encoder.freeze()
    return network


def batch_loss(network: nn.Module, batch: TrainingBatch, recipe: Recipe, spec: ModelSpec) -> Tensor:
    """Give the loss of one batch, with its gradient to come."""
    images = normalise(batch.images.to(recipe.device), spec.input).contiguous(memory_format=torch.channels_last)
    targets = batch.targets.to(recipe.device).long()  # [B, S, S]
    with torch.autocast(recipe.device, torch.bfloat16, enabled=recipe.precision == "bfloat16"):
        prediction = network(images)
    return segmentation_loss(prediction, targets, auxiliary_weight=recipe.auxiliary_weight)


@torch.no_grad()
def update_average(average: nn.Module, network: nn.Module, *, decay: float) -> None:
    """Move the averaged weights and batch-norm statistics a small step towards the present ones."""
    present = network.state_dict()
    for name, value in average.state_dict().items():
        if value.is_floating_point():
            value.lerp_(present[name], 1 - decay)
        else:
            value.copy_(present[name])


def save_and_validate(path: Path, network: nn.Module, recipe: Recipe, validation: Validation) -> ConfusionMatrix:
    """Save a checkpoint, score what was saved as a reader of the file finds it, and note the scores in it."""

    def save(weights: nn.Module, metrics: tuple[Metric, ...]) -> None:
        card = Card(
            name=recipe.name,
            description=recipe.description,
            spec=validation.spec,
            training=validation.training,
            metrics=metrics,
        )
        checkpoint.save(path, weights, card, dtype=recipe.dtype)

    save(network, ())
    saved = checkpoint.load(path).network.to(recipe.device)
    scores = evaluate(saved, validation.spec, validation.dataset)
    num_images = len(validation.dataset)
    save(saved, metrics_of(scores, validation.spec, dataset=validation.name, num_images=num_images))
    return scores


def append_row(path: Path, row: EpochRow) -> None:
    """Add a line to a CSV file in one write, below the names of the columns."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    if not path.exists():
        writer.writerow(field.name for field in fields(row))
    writer.writerow(astuple(row))
    with path.open("a", encoding="utf-8") as file:
        file.write(text.getvalue())


def _val_name(recipe: Recipe) -> str:
    reference = Reference.parse(recipe.val)
    return recipe.val_name or f"{reference.name} {reference.split}"


def _shared_labels(datasets: Sequence[SegmentationDataset]) -> LabelSpace:
    first, *others = (dataset.labels for dataset in datasets)
    for other in others:
        if other != first:
            raise InvalidDataset(f"datasets of labels {first.name} and {other.name} cannot be trained on together")
    return first


def _prepare_folder(out: Path, recipe: Recipe, *, overwrite: bool) -> None:
    out.mkdir(parents=True, exist_ok=True)
    if any(out.iterdir()) and not overwrite:
        raise FolderNotEmpty(f"{out} is not empty; choose another folder, or say --overwrite")
    for name in (LAST, BEST, METRICS, RECIPE):
        (out / name).unlink(missing_ok=True)
    write_atomically(out / RECIPE, [recipe.to_toml().encode()])


def _clock(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{minutes // 60}h{minutes % 60:02}m" if minutes else f"{seconds:.0f}s"
