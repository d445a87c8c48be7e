import os
import signal
from collections import Counter
from itertools import chain
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from model_zoo.spec import InputRule, SizeRule
from training.datasets import Sample
from training.datasets.shapes import Shapes
from training.errors import InvalidDataset, InvalidRecipe, WorkerLost
from training.loading import StepBatches, TrainingBatch, TrainingSamples, training_batches
from training.mixing import Mix, SlidingWindow
from training.processes import ALONE, Processes
from training.transforms import Augment, Augmentation


def plan(  # noqa: PLR0917  # counts that a test reads as a row
    samples: int, size: int, epochs: int, seed: int = 0, first_step: int = 0, processes: Processes = ALONE
) -> StepBatches:
    mix = Mix([samples], None, seed=seed)
    return StepBatches(mix, batch_size=size, epochs=epochs, first_step=first_step, processes=processes)


@given(st.integers(1, 60), st.integers(1, 20), st.integers(1, 3), st.integers(0, 5))
def test_trap_19_every_epoch_takes_every_index_exactly_once(samples: int, size: int, epochs: int, seed: int) -> None:
    batches = plan(samples, size, epochs, seed)

    seen = Counter(chain.from_iterable(batches))

    assert seen == Counter((epoch, index) for epoch in range(1, epochs + 1) for index in range(samples))


@given(st.integers(1, 60), st.integers(1, 20))
def test_batches_are_as_many_as_promised_and_of_almost_one_size(samples: int, size: int) -> None:
    sizes = [len(batch) for batch in plan(samples, size, 2)]

    assert len(sizes) == len(plan(samples, size, 2))
    assert max(sizes) <= size
    assert max(sizes) - min(sizes) <= 1


def test_the_order_changes_with_the_epoch_and_the_seed_alone() -> None:
    first, second = plan(30, 30, 2)
    (other_seed,) = plan(30, 30, 1, 1)
    (again,) = plan(30, 30, 1)

    assert first == again
    assert [index for _, index in first] != [index for _, index in second]
    assert first != other_seed


def load_run(workers: int, *, cache: bool = True) -> list[TrainingBatch]:
    augment = Augment(InputRule(), SizeRule(), Augmentation(32, 0.5, 2.0, 0.5, 0.3))
    datasets = [Shapes(Path("5"), "train"), Shapes(Path("4"), "val")]
    samples = TrainingSamples(datasets, augment, seed=1, cache=cache)
    return list(training_batches(samples, plan(9, 4, 2, 1), workers=workers, color=(0, 0, 0)))


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


def test_trap_54_a_resumed_run_takes_the_batches_that_were_left() -> None:
    whole = list(plan(10, 3, 3))

    assert list(plan(10, 3, 3, first_step=6)) == whole[6:]


def test_a_run_of_steps_ends_in_the_middle_of_an_epoch() -> None:
    batches = StepBatches(Mix([10], None, seed=0), batch_size=3, steps=6)

    assert (len(list(batches)), batches.num_epochs) == (6, 2)
    assert list(batches) == list(plan(10, 3, 2))[:6]


@pytest.mark.parametrize("first_step", [0, 2, 3, 7])
def test_a_window_that_slides_by_one_image_has_a_batch_a_step_and_goes_on_where_it_was(first_step: int) -> None:
    window = SlidingWindow(13, batch_size=4)

    batches = list(StepBatches(window, batch_size=4, steps=8, first_step=first_step))

    starts = [step % 3 for step in range(first_step, 8)]
    assert [[index for _, index in batch] for batch in batches] == [[s, s + 1, s + 2, s + 3] for s in starts]


@pytest.mark.parametrize("samples", [8, 10, 11])
def test_trap_19_processes_share_every_batch_and_none_sees_an_image_twice(samples: int) -> None:
    shares = [list(plan(samples, 4, 2, processes=Processes(rank, 2))) for rank in range(2)]

    joined = [sorted(first + second) for first, second in zip(*shares, strict=True)]

    assert joined == [sorted(batch) for batch in plan(samples, 4, 2)]


def test_a_batch_that_is_too_small_to_share_is_refused() -> None:
    with pytest.raises(InvalidRecipe, match="2 images a step cannot be shared by 3 processes"):
        plan(10, 2, 1, processes=Processes(0, 3))


class Broken(Shapes):
    def __getitem__(self, index: int) -> Sample:
        raise InvalidDataset(f"{self.ids[index]} cannot be read")


@pytest.mark.parametrize("workers", [0, 1])
def test_a_sample_that_cannot_be_read_is_told_in_one_line(workers: int) -> None:
    augment = Augment(InputRule(), SizeRule(), Augmentation(32, 0.5, 2.0, 0.5, 0.3))
    samples = TrainingSamples([Broken(Path("1"), "train")], augment, seed=0, cache=False)

    with pytest.raises(InvalidDataset, match=r"^train-0 cannot be read$"):
        list(training_batches(samples, plan(1, 1, 1), workers=workers, color=(0, 0, 0)))


def test_a_check_reads_every_sample() -> None:
    augment = Augment(InputRule(), SizeRule(), Augmentation(32, 0.5, 2.0, 0.5, 0.3))

    with pytest.raises(InvalidDataset, match="train-0 cannot be read"):
        TrainingSamples([Broken(Path("1"), "train")], augment, seed=0, cache=False).check()


class Counted(Shapes):
    def __init__(self, root: Path, split: str) -> None:
        super().__init__(root, split)
        self.reads: Counter[int] = Counter()

    def __getitem__(self, index: int) -> Sample:
        self.reads[index] += 1
        return super().__getitem__(index)


@pytest.mark.parametrize("paste", [0.0, 0.5])
def test_samples_are_read_once_for_their_classes_however_often_these_are_asked_for(paste: float) -> None:
    augment = Augment(InputRule(), SizeRule(), Augmentation(32, 0.5, 2.0, 0.5, 0.3))
    dataset = Counted(Path("3"), "train")

    samples = TrainingSamples([dataset], augment, seed=0, cache=False, paste=paste)

    assert samples.classes() == samples.classes()
    assert dataset.reads == {0: 1, 1: 1, 2: 1}


def test_whole_images_are_padded_to_the_largest_with_colour_and_void() -> None:
    augment = Augment(InputRule(), SizeRule(policy="native"), Augmentation(0, 1.0, 1.0, 0.0, 0.0))
    samples = TrainingSamples([Shapes(Path("4"), "train")], augment, seed=0, cache=True, weigh_boundaries=True)

    (batch,) = training_batches(samples, plan(4, 4, 1), workers=0, color=(9, 9, 9))

    alone = samples[(1, int(batch.ids[0].rpartition("-")[2]))]
    height, width = alone.targets.shape[1:]
    assert torch.equal(batch.images[0, :, :height, :width], alone.images[0])
    assert batch.images.shape[2:] == batch.targets.shape[1:] > (height - 1, width - 1)
    assert (batch.images[0, :, height:] == 9).all()
    assert (batch.targets[0, :, width:] == 255).all()
    assert batch.pixel_weights is not None
    assert batch.pixel_weights.shape == batch.targets.shape
    assert not batch.pixel_weights[0, :, width:].any()


@given(st.integers(1, 9), st.integers(1, 12))
def test_parts_of_a_batch_hold_all_of_it_in_order(size: int, parts: int) -> None:
    images = torch.arange(size, dtype=torch.uint8).view(size, 1, 1, 1)
    batch = TrainingBatch(images, images[:, 0], tuple(map(str, range(size))), images[:, 0].float())

    cut = batch.split(parts)

    assert len(cut) == min(parts, size)
    assert torch.equal(torch.cat([part.images for part in cut]), images)
    assert [sample_id for part in cut for sample_id in part.ids] == list(batch.ids)
    assert max(len(part.ids) for part in cut) - min(len(part.ids) for part in cut) <= 1


class Fatal(Shapes):
    def __getitem__(self, index: int) -> Sample:
        os.kill(os.getpid(), signal.SIGKILL)
        return super().__getitem__(index)


def test_a_worker_that_is_killed_is_told_in_one_line() -> None:
    augment = Augment(InputRule(), SizeRule(), Augmentation(32, 0.5, 2.0, 0.5, 0.3))
    samples = TrainingSamples([Fatal(Path("1"), "train")], augment, seed=0, cache=False)

    with pytest.raises(WorkerLost, match=r"^one of 1 processes that prepare images has ended"):
        list(training_batches(samples, plan(1, 1, 1), workers=1, color=(0, 0, 0)))
