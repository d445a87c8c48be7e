"""Train a network as a recipe says: one loop, from the first batch, or from where it was interrupted, to the last.

Letters: B batch, C channels, H and W height and width of the crop.
"""

from __future__ import annotations

import copy
import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import clip_grads_with_norm_, get_total_norm
from tqdm import tqdm  # type: ignore[import-untyped]  # tqdm has no stubs

from model_zoo import checkpoint
from model_zoo.atomic import write_atomically
from model_zoo.card import Card, Metric, Training
from model_zoo.preprocess import mean_color, normalise
from model_zoo.spec import ModelSpec
from training.datasets import LabelSpace, SegmentationDataset, check_leaks, open_dataset
from training.datasets.subset import take_share
from training.dead_branches import DeadBranches
from training.errors import InvalidDataset, NonFiniteLoss, TrainingError
from training.evaluation.evaluate import evaluate, metrics_of
from training.evaluation.metrics import ConfusionMatrix
from training.initial import make_network, starve_warning, train_mode, try_step
from training.journal import Journal
from training.loading import StepBatches, TrainingBatch, TrainingSamples, training_batches
from training.losses import LOSSES, Counts, count, sample_pixels, segmentation_loss
from training.order import sample_order
from training.processes import ALONE, Processes
from training.provenance import training_record
from training.random_key import random_key
from training.recipe import Recipe
from training.report import write_report
from training.run_folder import BEST, CARD, LAST, REPORT, check_space, opened
from training.schedule import averaging_decay, learning_rate_factor, make_optimizer, set_learning_rates
from training.state import FOLDER, Learner, Progress, bytes_needed, has_state, load_state, save_state
from training.transforms import Augment


@dataclass(frozen=True, slots=True)
class Run:
    """Hold what stays the same from the first step to the last: what is trained, on what, where, and by whom."""

    recipe: Recipe
    out: Path
    spec: ModelSpec
    val: SegmentationDataset
    record: Training
    processes: Processes = ALONE

    @property
    def data_sha256(self) -> str:
        """Hash which images and which classes are learnt and validated on."""
        lists = [dataset.list_sha256 for dataset in self.record.datasets]
        return hashlib.sha256(json.dumps([lists, list(self.val.ids), self.spec.classes]).encode()).hexdigest()


def fit(
    recipe: Recipe, out: Path, *, command: str | None = None, overwrite: bool = False, processes: Processes = ALONE
) -> ConfusionMatrix:
    """Train a network and give the scores of its last validation.

    A run that was interrupted goes on when it is started again with the same recipe and folder; on a CPU its weights
    are then, bit for bit, those of a run that was not. The folder ``out`` holds ``recipe.toml``, ``metrics.csv`` with
    one row an epoch, ``checkpoint-last.safetensors`` and ``checkpoint-best.safetensors``, complete at every moment,
    ``events`` for TensorBoard, ``state`` to resume from and, in the end, ``report.html`` and ``card.md``.

    Raises:
        TrainingError: recipe, data or folder cannot be used, or the loss is not finite.
        OSError: the folder cannot be written.
    """
    torch.manual_seed(recipe.seed)
    train = [take_share(open_dataset(reference), recipe.train_share) for reference in recipe.train]
    val = open_dataset(recipe.val)
    check_leaks(train, val)
    spec = recipe.spec(_shared_labels([*train, val]))
    network = make_network(recipe, spec).to(memory_format=torch.channels_last).to(processes.device)
    train_mode(network, freeze_norms=recipe.freeze_norms)
    average = copy.deepcopy(network) if recipe.ema_decay else None
    learner = Learner(network, make_optimizer(network, recipe), average)
    run = Run(recipe, out, spec, val, training_record(recipe, train, command=command), processes)
    samples = _samples(recipe, spec, train)
    plan = _plan(recipe, train, samples, processes)
    if overwrite or not has_state(out / FOLDER):
        smallest_part = max(1, plan.smallest_batch // (recipe.accumulate * processes.count))
        _check_beforehand(run, network, samples, num_images=smallest_part)

    with _opened(run, learner, overwrite=overwrite) as progress, Journal(out, plan, progress, processes) as journal:
        plan.first_step = progress.step
        forward = _forward(network, recipe, processes)
        dead = DeadBranches(network, first_step=progress.step)
        batches = training_batches(
            samples, plan, workers=recipe.workers, color=mean_color(spec.input), pin=recipe.device == "cuda"
        )
        for step, batch in enumerate(journal.timed(batches), progress.step):
            torch.manual_seed(random_key(recipe.seed, step, f"process {processes.rank}"))
            factor = learning_rate_factor(step, plan.num_steps, recipe)
            set_learning_rates(learner.optimizer, factor)

            learner.optimizer.zero_grad()
            loss = find_gradients(forward, batch, run)
            gradient = clip_gradients(network, recipe.clip_norm)
            if not math.isfinite(loss + gradient):
                where = f"in epoch {1 + step // plan.steps_per_epoch}, step {step}"
                raise NonFiniteLoss(f"loss is {loss}, its gradient {gradient} {where}: images {', '.join(batch.ids)}")
            for layer in dead.update():
                journal.tell(f"warning: no gradient has reached {layer} yet, it does not learn")
            learner.optimizer.step()
            if average is not None:
                update_average(average, network, decay=averaging_decay(step, recipe))
            journal.step_done(loss=loss, gradient=gradient, num_images=len(batch.ids) * processes.count)

            is_due = progress.step % recipe.save_every == 0
            if journal.epoch_is_over:
                scores = None
                if journal.epoch % recipe.validate_every == 0 or progress.step == plan.num_steps:
                    scores = save_and_validate(average or network, run, progress)
                    is_due = True
                journal.epoch_done(lr=recipe.lr * factor, scores=scores)
            if is_due and processes.is_first:
                save_state(out / FOLDER, learner, progress, data=run.data_sha256)
        if recipe.report and processes.is_first and not all((out / name).is_file() for name in (REPORT, CARD)):
            write_report(out)
        return progress.scores


def find_gradients(forward: nn.Module, batch: TrainingBatch, run: Run) -> float:
    """Go forward and back through the parts of a batch, and give the loss over all parts and processes.

    Every part is divided by what the whole step has of labelled pixels, or images, so that parts and processes change
    nothing, however the void lies.
    """
    recipe, processes = run.recipe, run.processes
    if recipe.pixel_share < 1:
        batch = replace(batch, targets=sample_pixels(batch.targets, recipe.pixel_share))
    counts = Counts(*processes.sum(torch.tensor(count(batch.targets), dtype=torch.float64)).tolist())
    parts = batch.split(recipe.accumulate)
    total = torch.zeros((), dtype=torch.float64)
    for number, part in enumerate(parts, 1):
        is_last = number == len(parts)
        with forward.no_sync() if isinstance(forward, DistributedDataParallel) and not is_last else nullcontext():
            loss = part_loss(forward, part, run, counts)
            shared = loss * processes.count  # processes average their gradients, each the share of a sum
            shared.backward()  # type: ignore[no-untyped-call]  # torch has no annotation here
        total += loss.detach().double().cpu()
    return float(processes.sum(total))


def part_loss(forward: nn.Module, part: TrainingBatch, run: Run, counts: Counts) -> Tensor:
    """Give a part's share of the loss of a step that counts so much, with its gradient to come."""
    recipe, device = run.recipe, run.processes.device
    images = part.images.to(device, non_blocking=True)  # [B, C, H, W]
    images = normalise(images, run.spec.input).contiguous(memory_format=torch.channels_last)
    targets = part.targets.to(device, non_blocking=True).long()  # [B, H, W]
    weights = None if part.pixel_weights is None else part.pixel_weights.to(device, non_blocking=True)
    with torch.autocast(device.type, torch.bfloat16, enabled=recipe.precision == "bfloat16"):
        prediction = forward(images)
    return segmentation_loss(
        prediction,
        targets,
        terms=recipe.loss,
        auxiliary_weight=recipe.auxiliary_weight,
        counts=counts,
        pixel_weights=weights,
    )


def clip_gradients(network: nn.Module, longest: float | None) -> float:
    """Shorten the gradient of all weights to ``longest``, if that is given, and say how long it was."""
    weights = [weight for weight in network.parameters() if weight.grad is not None]
    length = get_total_norm([weight.grad for weight in weights if weight.grad is not None])
    if longest is not None:
        clip_grads_with_norm_(weights, longest, length)
    return float(length)


@torch.no_grad()
def update_average(average: nn.Module, network: nn.Module, *, decay: float) -> None:
    """Move the averaged weights and batch-norm statistics a small step towards the present ones."""
    present = network.state_dict()
    for name, value in average.state_dict().items():
        if value.is_floating_point():
            value.lerp_(present[name], 1 - decay)
        else:
            value.copy_(present[name])


def save_and_validate(network: nn.Module, run: Run, progress: Progress) -> ConfusionMatrix:
    """Save a checkpoint, score what was saved as a reader of the file finds it, and note the scores in it.

    The best one is kept beside the last. All processes must see the folder.
    """
    path, processes = run.out / LAST, run.processes
    if processes.is_first:
        _save(network, run, ())
    processes.wait()
    saved = checkpoint.load(path).network.to(processes.device)
    scores = evaluate(saved, run.spec, run.val, processes)
    if processes.is_first:
        name = run.recipe.shown_val
        _save(saved, run, metrics_of(scores, run.spec, dataset=name, num_images=len(run.val)))
        if scores.mean_iou > progress.best_iou:
            write_atomically(run.out / BEST, [path.read_bytes()])
    progress.note(scores)
    return scores


def _save(network: nn.Module, run: Run, metrics: tuple[Metric, ...]) -> None:
    recipe = run.recipe
    card = Card(name=recipe.name, description=recipe.description, spec=run.spec, training=run.record, metrics=metrics)
    checkpoint.save(run.out / LAST, network, card, dtype=recipe.dtype)


def _forward(network: nn.Module, recipe: Recipe, processes: Processes) -> nn.Module:
    """Give what is called to go through the network: compiled and shared between processes, where that is asked for."""
    compiled = torch.compile(network) if recipe.compile else network
    return processes.share(compiled, sync_norms=recipe.sync_norms)  # type: ignore[arg-type]  # compiled is a module, too


def _plan(
    recipe: Recipe, train: Sequence[SegmentationDataset], samples: TrainingSamples, processes: Processes
) -> StepBatches:
    order = sample_order(recipe, [len(dataset) for dataset in train], samples.classes)
    return StepBatches(
        order, batch_size=recipe.batch_size, epochs=recipe.epochs, steps=recipe.steps, processes=processes
    )


def _samples(recipe: Recipe, spec: ModelSpec, train: Sequence[SegmentationDataset]) -> TrainingSamples:
    return TrainingSamples(
        train,
        Augment(spec.input, spec.size, recipe.augmentation),
        seed=recipe.seed,
        cache=recipe.cache,
        paste=recipe.paste,
        weights=recipe.train_weights,
        weigh_boundaries=any(weight and LOSSES[name].weighted for name, weight in recipe.loss.items()),
    )


def _check_beforehand(run: Run, network: nn.Module, samples: TrainingSamples, *, num_images: int) -> None:
    """Find out what can be known before the folder is touched: samples that cannot be read, steps that cannot be done.

    Raises:
        TrainingError: there is such a sample, or the network cannot learn from what it would be given.
    """
    recipe, error = run.recipe, None
    if run.processes.is_first:
        if warning := starve_warning(network, recipe, run.processes):
            tqdm.write(f"warning: {warning}")
        try:
            try_step(network, recipe, run.spec, num_images=num_images)
            if recipe.check:
                samples.check()
                for index in tqdm(range(len(run.val)), desc="read images", leave=False, disable=None):
                    run.val[index]
        except TrainingError as found:
            error = found
    run.processes.raise_together(error)


@contextmanager
def _opened(run: Run, learner: Learner, *, overwrite: bool) -> Iterator[Progress]:
    """Make the folder ready, by the first process for all, and say how far the run in it has come."""
    with ExitStack() as stack:
        error: Exception | None = None
        if run.processes.is_first:
            try:
                check_space(run.out, bytes_needed(learner))
                stack.enter_context(opened(run.out, run.recipe, overwrite=overwrite))
            except (TrainingError, OSError) as found:
                error = found
        run.processes.raise_together(error)
        states = run.out / FOLDER
        yield load_state(states, learner, data=run.data_sha256) if has_state(states) else Progress()


def _shared_labels(datasets: Sequence[SegmentationDataset]) -> LabelSpace:
    first, *others = (dataset.labels for dataset in datasets)
    for other in others:
        if other != first:
            raise InvalidDataset(f"datasets of labels {first.name} and {other.name} cannot be trained on together")
    return first
