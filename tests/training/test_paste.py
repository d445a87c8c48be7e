from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from model_zoo.labels import IGNORE_INDEX
from model_zoo.spec import InputRule, SizeRule
from training.datasets.shapes import Shapes
from training.loading import StepBatches, TrainingBatch, TrainingSamples, training_batches
from training.mixing import RepeatedMix, repeat_factors
from training.paste import BORDER, Paste, object_mask
from training.transforms import Augment, Augmentation


def target_of(label: int, *, side: int = 32) -> Tensor:
    """Make a target with a square of a class, void around it, and void far away."""
    target = torch.zeros(side, side, dtype=torch.uint8)
    target[8:16, 8:16] = IGNORE_INDEX
    target[10:14, 10:14] = label
    target[-1, -1] = IGNORE_INDEX
    return target


def other_crop(index: int, visit: int) -> tuple[Tensor, Tensor]:
    del visit
    return torch.full((3, 32, 32), 200 + index % 50, dtype=torch.uint8), target_of(5)


def test_a_class_is_pasted_with_the_void_around_it_and_nothing_else_changes() -> None:
    image, target = torch.zeros(3, 32, 32, dtype=torch.uint8), torch.full((32, 32), 7, dtype=torch.uint8)

    pasted, labels = Paste([{0}, {0, 5}], 1.0, other_crop)(image, target, key=1)

    inside = torch.zeros(32, 32, dtype=torch.bool)
    inside[8:16, 8:16] = True
    assert torch.equal(pasted, torch.where(inside, 201, 0).to(torch.uint8).expand(3, -1, -1))
    assert torch.equal(labels[inside], target_of(5)[inside])
    assert (labels[~inside] == 7).all()


def test_void_belongs_to_an_object_only_as_far_as_the_border_reaches() -> None:
    target = torch.full((1, 40), IGNORE_INDEX, dtype=torch.uint8)
    target[0, 20] = 3

    assert object_mask(target, 3)[0].nonzero().flatten().tolist() == list(range(20 - BORDER, 21 + BORDER))


@pytest.mark.parametrize("classes", [[{0}, {0, IGNORE_INDEX}], [None, {0}], []])
def test_without_a_class_to_paste_the_crop_stays_as_it_is(classes: list[set[int] | None]) -> None:
    image, target = torch.zeros(3, 8, 8, dtype=torch.uint8), torch.zeros(8, 8, dtype=torch.uint8)

    assert Paste(classes, 1.0, other_crop)(image, target, key=0) == (image, target)


def test_pasting_happens_as_often_as_its_chance_and_for_rare_classes_as_often_as_for_common_ones() -> None:
    asked: list[int] = []

    def crop(index: int, visit: int) -> tuple[Tensor, Tensor]:
        asked.append(index)
        return other_crop(index, visit)

    paste = Paste([{0, 5}] * 99 + [{0, 6}], 0.25, crop)
    image, target = torch.zeros(3, 32, 32, dtype=torch.uint8), torch.zeros(32, 32, dtype=torch.uint8)

    for key in range(4000):
        paste(image, target, key=key)

    assert len(asked) / 4000 == pytest.approx(0.25, abs=0.03)
    assert asked.count(99) / len(asked) == pytest.approx(0.5, abs=0.06)


def test_what_is_pasted_depends_on_the_key_alone() -> None:
    paste = Paste([{0, 5}] * 9, 0.5, other_crop)
    image, target = torch.zeros(3, 32, 32, dtype=torch.uint8), torch.zeros(32, 32, dtype=torch.uint8)

    first, again = paste(image, target, key=12), paste(image, target, key=12)

    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])


def test_nothing_is_pasted_from_a_dataset_without_weight() -> None:
    augment = Augment(InputRule(), SizeRule(), Augmentation(32, 1.0, 1.0, 0.0, 0.0))
    datasets = [Shapes(Path("2"), "train"), Shapes(Path("6"), "val")]
    plain = TrainingSamples(datasets[:1], augment, seed=1, cache=True, paste=1.0)
    mixed = TrainingSamples(datasets, augment, seed=1, cache=True, paste=1.0, weights=[1.0, 0.0])

    found = [(plain[visit, 0], mixed[visit, 0]) for visit in range(1, 21)]

    assert all(torch.equal(alone.images, beside.images) for alone, beside in found)


def load_run(*, workers: int, first_step: int = 0, cache: bool = True) -> list[TrainingBatch]:
    """Load two epochs of generated shapes, with repeated and pasted classes."""
    augment = Augment(InputRule(), SizeRule(), Augmentation(32, 0.5, 2.0, 0.5, 0.3))
    samples = TrainingSamples([Shapes(Path("9"), "train")], augment, seed=1, cache=cache, paste=0.7)
    mix = RepeatedMix(repeat_factors(samples.classes(), 1.0), seed=1)
    plan = StepBatches(mix, batch_size=3, epochs=2, first_step=first_step)
    return list(training_batches(samples, plan, workers=workers, color=(0, 0, 0)))


@pytest.mark.parametrize(
    ("workers", "first_step", "cache"),
    [(2, 0, True), (0, 4, True), (0, 0, False)],
    ids=["with workers", "resumed", "uncached"],
)
def test_trap_20_what_a_run_learns_from_is_the_same_however_it_is_loaded_and_wherever_it_is_resumed(
    workers: int, first_step: int, cache: bool
) -> None:
    whole = load_run(workers=0)[first_step:]

    found = load_run(workers=workers, first_step=first_step, cache=cache)

    assert [batch.ids for batch in found] == [batch.ids for batch in whole]
    assert all(torch.equal(a.images, b.images) for a, b in zip(found, whole, strict=True))
    assert all(torch.equal(a.targets, b.targets) for a, b in zip(found, whole, strict=True))
