from collections import Counter
from itertools import chain
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from model_zoo.spec import InputRule, SizeRule
from training.datasets.shapes import Shapes
from training.loading import EpochBatches, TrainingBatch, TrainingSamples, training_loader
from training.transforms import Augment, Augmentation


@given(st.integers(1, 60), st.integers(1, 20), st.integers(1, 3), st.integers(0, 5))
def test_trap_19_every_epoch_takes_every_index_exactly_once(samples: int, size: int, epochs: int, seed: int) -> None:
    batches = EpochBatches(samples, batch_size=size, epochs=epochs, seed=seed)

    seen = Counter(chain.from_iterable(batches))

    assert seen == Counter((epoch, index) for epoch in range(1, epochs + 1) for index in range(samples))


@given(st.integers(1, 60), st.integers(1, 20))
def test_batches_are_as_many_as_promised_and_of_almost_one_size(samples: int, size: int) -> None:
    sizes = [len(batch) for batch in EpochBatches(samples, batch_size=size, epochs=2, seed=0)]

    assert len(sizes) == len(EpochBatches(samples, batch_size=size, epochs=2, seed=0))
    assert max(sizes) <= size
    assert max(sizes) - min(sizes) <= 1


def test_the_order_changes_with_the_epoch_and_the_seed_alone() -> None:
    first, second = EpochBatches(30, batch_size=30, epochs=2, seed=0)
    (other_seed,) = EpochBatches(30, batch_size=30, epochs=1, seed=1)
    (again,) = EpochBatches(30, batch_size=30, epochs=1, seed=0)

    assert first == again
    assert [index for _, index in first] != [index for _, index in second]
    assert first != other_seed


def load_run(workers: int, *, cache: bool = True) -> list[TrainingBatch]:
    augment = Augment(InputRule(), SizeRule(), Augmentation(32, 0.5, 2.0, 0.5, 0.3))
    datasets = [Shapes(Path("5"), "train"), Shapes(Path("4"), "val")]
    samples = TrainingSamples(datasets, augment, seed=1, cache=cache)
    return list(training_loader(samples, EpochBatches(9, batch_size=4, epochs=2, seed=1), workers=workers))


@pytest.mark.parametrize("workers", [0, 2])
def test_trap_19_workers_deliver_every_sample_once_an_epoch(workers: int) -> None:
    ids = [sample_id for batch in load_run(workers) for sample_id in batch.ids]

    assert len(ids) == 18
    assert (
        Counter(ids[:9]) == Counter(ids[9:]) == Counter(Shapes(Path("5"), "train").ids + Shapes(Path("4"), "val").ids)
    )


def test_trap_20_batches_do_not_depend_on_the_number_of_workers() -> None:
    alone, helped = load_run(0), load_run(2)

    assert [batch.ids for batch in alone] == [batch.ids for batch in helped]
    assert all(torch.equal(a.images, b.images) for a, b in zip(alone, helped, strict=True))
    assert all(torch.equal(a.targets, b.targets) for a, b in zip(alone, helped, strict=True))


def test_the_cache_changes_nothing() -> None:
    cached, read = load_run(0), load_run(0, cache=False)

    assert all(torch.equal(a.images, b.images) for a, b in zip(cached, read, strict=True))
