"""Bring samples to the training loop: which ones a step takes, cached, augmented, by worker processes.

Letters: B batch, C channels, H and W height and width of the crop.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler
from tqdm import tqdm  # type: ignore[import-untyped]  # tqdm has no stubs

from model_zoo.labels import IGNORE_INDEX
from training.datasets import Sample, SegmentationDataset
from training.errors import InvalidRecipe, TrainingError, WorkerLost
from training.losses.boundary_weights import boundary_weights
from training.order import Order, visited_classes
from training.paste import Paste
from training.processes import ALONE, Processes
from training.random_key import random_key
from training.transforms import Augment, pad_to

Key = tuple[int, int]
"""How often the dataset has been gone through, this time included, and an index into the training samples."""


@dataclass(frozen=True, slots=True)
class TrainingBatch:
    """Hold what one step learns from: uint8 ``[B, C, H, W]``, uint8 ``[B, H, W]`` and where they come from.

    ``pixel_weights`` is float32 ``[B, H, W]``, where a loss needs it.
    """

    images: Tensor
    targets: Tensor
    ids: tuple[str, ...]
    pixel_weights: Tensor | None = None

    def pin_memory(self) -> TrainingBatch:
        """Give the same in memory from which a GPU copies while it computes."""
        weights = None if self.pixel_weights is None else self.pixel_weights.pin_memory()
        return TrainingBatch(self.images.pin_memory(), self.targets.pin_memory(), self.ids, weights)

    def split(self, parts: int) -> list[TrainingBatch]:
        """Cut the batch into parts whose sizes differ by one at most; an empty one is left out."""
        cuts = torch.arange(len(self.ids)).tensor_split(min(parts, len(self.ids)))
        return [
            TrainingBatch(
                self.images[cut],
                self.targets[cut],
                tuple(self.ids[index] for index in cut.tolist()),
                None if self.pixel_weights is None else self.pixel_weights[cut],
            )
            for cut in cuts
        ]


class StepBatches(Sampler[list[Key]]):
    """Give the keys of every step of a run from ``first_step`` on: of each batch, what this process has to do.

    The order depends on seed and epoch alone. The batches of an epoch differ by at most one sample in size, so that
    none is so small that batch norm learns nothing from it.
    """

    def __init__(  # noqa: PLR0913  # each says which samples come when
        self,
        mix: Order,
        *,
        batch_size: int,
        epochs: int | None = None,
        steps: int | None = None,
        first_step: int = 0,
        processes: Processes = ALONE,
    ) -> None:
        """Plan the run, which takes ``epochs`` or ``steps``.

        Raises:
            InvalidRecipe: a batch has fewer images than there are processes.
        """
        self.steps_per_epoch = -(-len(mix) // batch_size)
        self.num_steps = steps if steps is not None else (epochs or 1) * self.steps_per_epoch
        self.first_step = first_step
        self._mix = mix
        self._processes = processes
        self.smallest_batch = len(mix) // self.steps_per_epoch
        if self.smallest_batch < processes.count:
            raise InvalidRecipe(
                f"batch_size: {self.smallest_batch} images a step cannot be shared by {processes.count} processes"
            )

    @property
    def num_epochs(self) -> int:
        """Count the epochs, the last of which may end early."""
        return -(-self.num_steps // self.steps_per_epoch)

    def __len__(self) -> int:
        """Count the steps to come."""
        return self.num_steps - self.first_step

    def __iter__(self) -> Iterator[list[Key]]:
        """Go through the rest of the run, step by step."""
        batches: tuple[Tensor, ...] = ()
        for step in range(self.first_step, self.num_steps):
            epoch, place = divmod(step, self.steps_per_epoch)
            if not place or not batches:
                keys = torch.tensor(self._mix.epoch(epoch + 1))  # [slots, 2]
                batches = keys.tensor_split(self.steps_per_epoch)
            mine = batches[place].tensor_split(self._processes.count)[self._processes.rank]
            yield [(visit, index) for visit, index in mine.tolist()]


class TrainingSamples(Dataset[TrainingBatch]):
    """Give augmented samples of several datasets, one behind the other, by key; each as a batch of one."""

    def __init__(  # noqa: PLR0913  # each says what a sample becomes
        self,
        datasets: Sequence[SegmentationDataset],
        augment: Augment,
        *,
        seed: int,
        cache: bool,
        weigh_boundaries: bool = False,
        paste: float = 0.0,
        weights: Sequence[float] = (),
    ) -> None:
        """Read all samples if they are to be cached; nothing is pasted from datasets whose weight is 0."""
        self._places = [(dataset, index) for dataset in datasets for index in range(len(dataset))]
        self._augment = augment
        self._seed = seed
        self._weigh_boundaries = weigh_boundaries
        self._cached = list(self._read_all()) if cache else None
        self._classes: list[frozenset[int]] | None = None
        sizes = [len(dataset) for dataset in datasets]
        self._paste = Paste(visited_classes(self.classes(), sizes, weights), paste, self._crop) if paste else None

    def __len__(self) -> int:
        """Count the samples of all datasets."""
        return len(self._places)

    def __getitem__(self, key: Key) -> TrainingBatch:
        """Give one sample as this visit sees it."""
        visit, index = key
        sample = self._sample(index)
        image, target = self._augment(sample, seed=self._seed, epoch=visit)
        if self._paste is not None:
            image, target = self._paste(image, target, key=random_key(self._seed, visit, f"paste {index}"))
        weights = torch.from_numpy(boundary_weights(target.numpy()))[None] if self._weigh_boundaries else None
        return TrainingBatch(image[None], target[None], (sample.id,), weights)

    def classes(self) -> list[frozenset[int]]:
        """Say which classes each sample has, which is found out once.

        Raises:
            InvalidDataset: one cannot be read; the message names it.
        """
        if self._classes is None:
            samples = self._cached if self._cached is not None else self._read_all()
            self._classes = [frozenset(np.unique(sample.target).tolist()) - {IGNORE_INDEX} for sample in samples]
        return self._classes

    def check(self) -> None:
        """Read every sample once, so that one that cannot be read is known before training starts.

        Raises:
            InvalidDataset: there is one; the message names it.
        """
        if self._cached is None:
            for _ in self._read_all():
                pass

    def _crop(self, index: int, visit: int) -> tuple[Tensor, Tensor]:
        return self._augment(self._sample(index), seed=self._seed, epoch=visit)

    def _sample(self, index: int) -> Sample:
        return self._cached[index] if self._cached is not None else self._read(index)

    def _read(self, index: int) -> Sample:
        dataset, place = self._places[index]
        return dataset[place]

    def _read_all(self) -> Iterator[Sample]:
        for index in tqdm(range(len(self)), desc="read images", leave=False, disable=None):
            yield self._read(index)


def training_batches(
    samples: TrainingSamples, batches: StepBatches, *, workers: int, color: Sequence[int], pin: bool = False
) -> Iterator[TrainingBatch]:
    """Give the batches of a run, prepared ahead by worker processes; what they hold does not depend on these.

    Samples of different sizes are padded to the largest with ``color`` and void. With ``pin`` they lie in memory from
    which a GPU copies while it computes.

    Raises:
        TrainingError: a sample cannot be read, or a worker process has ended.
    """
    loader: DataLoader[TrainingBatch | TrainingError] = DataLoader(
        _Guarded(samples),
        batch_sampler=batches,
        num_workers=workers,
        collate_fn=_Collate(color),
        pin_memory=pin,
    )
    prepared = iter(loader)
    while True:
        try:
            batch = next(prepared)
        except StopIteration:
            return
        except RuntimeError as error:
            if "DataLoader worker" not in str(error):
                raise
            raise WorkerLost(
                f"one of {workers} processes that prepare images has ended, for want of memory perhaps: "
                "fewer workers, or no cache, need less; start again to go on"
            ) from error
        if isinstance(batch, TrainingError):
            raise batch
        yield batch


class _Guarded(Dataset["TrainingBatch | TrainingError"]):
    """Give errors as values: what a worker raises comes out with its whole traceback for a message."""

    def __init__(self, samples: TrainingSamples) -> None:
        self._samples = samples

    def __getitem__(self, key: Key) -> TrainingBatch | TrainingError:
        try:
            return self._samples[key]
        except TrainingError as error:
            return error


class _Collate:
    """Join samples to a batch, or give the first error among them."""

    def __init__(self, color: Sequence[int]) -> None:
        self._color = list(color)

    def __call__(self, samples: Sequence[TrainingBatch | TrainingError]) -> TrainingBatch | TrainingError:
        good: list[TrainingBatch] = []
        for sample in samples:
            if isinstance(sample, TrainingError):
                return sample
            good.append(sample)
        height, width = (max(sample.targets.shape[side] for sample in good) for side in (1, 2))
        padded = [pad_to(one.images[0], one.targets[0], height, width, self._color) for one in good]
        weights = [_padded(one.pixel_weights, height, width) for one in good if one.pixel_weights is not None]
        return TrainingBatch(
            torch.stack([image for image, _ in padded]),
            torch.stack([target for _, target in padded]),
            tuple(one.ids[0] for one in good),
            torch.cat(weights) if weights else None,
        )


def _padded(weights: Tensor, height: int, width: int) -> Tensor:
    """Give ``[1, h, w]`` as ``[1, H, W]``, 0 where nothing was."""
    grown = weights.new_zeros(1, height, width)
    grown[:, : weights.shape[1], : weights.shape[2]] = weights
    return grown
