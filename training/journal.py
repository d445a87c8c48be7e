"""Tell how a run goes: a progress bar, a line of ``metrics.csv`` an epoch, and events for TensorBoard."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from tqdm import tqdm  # type: ignore[import-untyped]  # tqdm has no stubs

from training.evaluation.metrics import ConfusionMatrix
from training.events import Events
from training.loading import StepBatches, TrainingBatch
from training.processes import Processes
from training.run_folder import EVENTS, METRICS, EpochRow, append_row, cut_rows
from training.state import Progress


class Journal:
    """Keep ``progress`` as the run goes on, and let the first process write down what becomes of it."""

    def __init__(self, out: Path, plan: StepBatches, progress: Progress, processes: Processes) -> None:
        """Begin where ``progress`` is: what was written of later steps is taken away."""
        self._out = out
        self._plan = plan
        self._progress = progress
        self._processes = processes
        self._tick = time.monotonic()
        self._bar = tqdm(
            desc="fit",
            unit="step",
            initial=progress.step,
            total=plan.num_steps,
            disable=None if processes.is_first else True,
        )
        self._events: Events | None = None
        if processes.is_first:
            cut_rows(out / METRICS, progress.num_rows)
            self._events = Events(out / EVENTS, first_step=progress.step + 1)
        if 0 < progress.step < plan.num_steps:
            self.tell(f"goes on after step {progress.step} of {plan.num_steps}")

    def __enter__(self) -> Self:
        """Go on."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close what is open."""
        self._bar.close()
        if self._events:
            self._events.close()

    def tell(self, message: str) -> None:
        """Show a line above the progress bar."""
        if self._processes.is_first:
            self._bar.write(message)

    def timed(self, batches: Iterator[TrainingBatch]) -> Iterator[TrainingBatch]:
        """Give the batches, and count the time that it takes until each is there."""
        while True:
            started = time.monotonic()
            batch = next(batches, None)
            if batch is None:
                return
            self._progress.waited += time.monotonic() - started
            yield batch

    def step_done(self, *, loss: float, gradient: float, num_images: int) -> None:
        """Count a step; its means go into the line of the epoch."""
        progress = self._progress
        now = time.monotonic()
        progress.epoch_seconds += now - self._tick
        self._tick = now
        progress.step += 1
        progress.num_steps += 1
        progress.num_images += num_images
        progress.loss_sum += loss
        progress.gradient_sum += gradient
        self._bar.set_postfix(epoch=self.epoch, loss=f"{loss:.3f}", refresh=False)
        self._bar.update()

    @property
    def epoch(self) -> int:
        """Give the number of the epoch of the last step, from 1."""
        return 1 + (self._progress.step - 1) // self._plan.steps_per_epoch

    @property
    def epoch_is_over(self) -> bool:
        """Say whether the last step was the last of its epoch, or of the run."""
        return self._progress.step % self._plan.steps_per_epoch == 0 or self._progress.step == self._plan.num_steps

    def epoch_done(self, *, lr: float, scores: ConfusionMatrix | None) -> None:
        """Write the line of an epoch, and begin the sums of the next."""
        progress = self._progress
        now = time.monotonic()
        validated, self._tick = now - self._tick, now
        steps, spent = progress.num_steps, progress.epoch_seconds
        progress.seconds += spent + validated
        row = EpochRow(
            epoch=self.epoch,
            step=progress.step,
            lr=lr,
            loss=progress.loss_sum / steps,
            gradient=progress.gradient_sum / steps,
            images_per_second=progress.num_images / spent,
            waited=min(1.0, progress.waited / spent),
            seconds=progress.seconds,
            val_miou=scores.mean_iou if scores else None,
            val_pixel_accuracy=scores.pixel_accuracy if scores else None,
        )
        progress.num_rows += 1
        progress.num_steps = progress.num_images = 0
        progress.loss_sum = progress.gradient_sum = progress.waited = progress.epoch_seconds = 0.0
        if self._events:
            append_row(self._out / METRICS, row)
            self._events.add(row.step, _values(row))
            self._events.flush()
            self._bar.write(row.summary(self._plan.num_epochs))


def _values(row: EpochRow) -> dict[str, float]:
    """Give what is drawn as curves, by the names that TensorBoard groups them by."""
    values = {
        "train/loss": row.loss,
        "train/lr": row.lr,
        "train/gradient": row.gradient,
        "speed/images_per_second": row.images_per_second,
        "speed/waited": row.waited,
        "val/miou": row.val_miou,
        "val/pixel_accuracy": row.val_pixel_accuracy,
    }
    return {name: value for name, value in values.items() if value is not None and math.isfinite(value)}
