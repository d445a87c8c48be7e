"""Bring samples to the training loop: which ones a step takes, cached, augmented, by worker processes.

Letters: B batch, C channels, S side of the crop.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler
from tqdm import tqdm  # type: ignore[import-untyped]  # tqdm has no stubs

from training.datasets import Sample, SegmentationDataset
from training.transforms import Augment

Key = tuple[int, int]
"""An epoch, counted from 1, and an index into the training samples."""


@dataclass(frozen=True, slots=True)
class TrainingBatch:
    """Hold what one step learns from: uint8 ``[B, C, S, S]``, uint8 ``[B, S, S]`` and where they come from."""

    images: Tensor
    targets: Tensor
    ids: tuple[str, ...]


class EpochBatches(Sampler[list[Key]]):
    """Give the keys of every step of a run; each epoch takes every sample exactly once, in an order of its own.

    The order depends on seed and epoch alone. The batches of an epoch differ by at most one sample in size, so that
    none is so small that batch norm learns nothing from it.
    """

    def __init__(self, num_samples: int, *, batch_size: int, epochs: int, seed: int) -> None:
        self.steps_per_epoch = -(-num_samples // batch_size)
        self._num_samples = num_samples
        self._epochs = epochs
        self._seed = seed

    def __len__(self) -> int:
        """Count the steps of the run."""
        return self._epochs * self.steps_per_epoch

    def __iter__(self) -> Iterator[list[Key]]:
        """Go through the run, step by step."""
        for epoch in range(1, self._epochs + 1):
            digest = hashlib.sha256(f"{self._seed}:{epoch}".encode()).digest()
            generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)
            order = torch.randperm(self._num_samples, generator=generator)
            for batch in order.tensor_split(self.steps_per_epoch):
                yield [(epoch, index) for index in batch.tolist()]


class TrainingSamples(Dataset[tuple[Tensor, Tensor, str]]):
    """Give augmented samples of several datasets, one behind the other, by epoch and index."""

    def __init__(self, datasets: Sequence[SegmentationDataset], augment: Augment, *, seed: int, cache: bool) -> None:
        self._places = [(dataset, index) for dataset in datasets for index in range(len(dataset))]
        self._augment = augment
        self._seed = seed
        self._cached = self._decode_all() if cache else None

    def __len__(self) -> int:
        """Count the samples of all datasets."""
        return len(self._places)

    def __getitem__(self, key: Key) -> tuple[Tensor, Tensor, str]:
        """Give image, target and id of one sample as one epoch sees it."""
        epoch, index = key
        sample = self._cached[index] if self._cached is not None else self._read(index)
        return *self._augment(sample, seed=self._seed, epoch=epoch), sample.id

    def _read(self, index: int) -> Sample:
        dataset, place = self._places[index]
        return dataset[place]

    def _decode_all(self) -> list[Sample]:
        return [self._read(index) for index in tqdm(range(len(self)), desc="read images", leave=False, disable=None)]


def training_loader(samples: TrainingSamples, batches: EpochBatches, *, workers: int) -> DataLoader[TrainingBatch]:
    """Give the batches of a whole run, prepared ahead by worker processes; what they hold does not depend on these."""
    loader: DataLoader[TrainingBatch] = DataLoader(
        samples,  # type: ignore[arg-type]  # DataLoader thinks that collating leaves the type as it is
        batch_sampler=batches,
        num_workers=workers,
        collate_fn=_collate,
    )
    return loader


def _collate(samples: Sequence[tuple[Tensor, Tensor, str]]) -> TrainingBatch:
    images, targets, ids = zip(*samples, strict=True)
    return TrainingBatch(torch.stack(images), torch.stack(targets), ids)
