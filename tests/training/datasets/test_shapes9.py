from pathlib import Path

import numpy as np
import pytest

from training.datasets import open_dataset
from training.datasets.shapes9 import SHAPES9_LABELS, Shapes9
from training.errors import InvalidDataset


def test_an_image_is_the_same_every_time() -> None:
    one, other = Shapes9(Path("8"), "train")[5], Shapes9(Path(), "train")[5]

    assert one.id == other.id
    assert one.image.tobytes() == other.image.tobytes()
    assert np.array_equal(one.target, other.target)


def test_images_are_of_one_size_and_have_all_classes() -> None:
    samples = [Shapes9(Path("60"), "val")[index] for index in range(60)]

    assert {sample.image.size for sample in samples} == {(64, 64)}
    assert {sample.target.shape for sample in samples} == {(64, 64)}
    assert set(np.unique(np.stack([sample.target for sample in samples]))) == {*range(9), 255}


def test_the_lists_do_not_meet_and_have_nothing_of_the_other_shapes() -> None:
    train, val, others = Shapes9(Path(), "train"), Shapes9(Path(), "val"), open_dataset("shapes:train:400")

    assert (len(train), len(val)) == (1600, 300)
    assert not set(train.ids) & set(val.ids)
    assert not set(train.ids) & set(others.ids)
    assert train.image_sha256(0) != val.image_sha256(0)
    assert train.labels == SHAPES9_LABELS


@pytest.mark.parametrize(
    ("root", "split", "complaint"),
    [("0", "val", "shapes9:val:0 must end in a number"), (".", "test", "shapes9 have no list 'test'")],
)
def test_what_cannot_be_drawn_is_refused(root: str, split: str, complaint: str) -> None:
    with pytest.raises(InvalidDataset, match=complaint):
        Shapes9(Path(root), split)
