from pathlib import Path

import numpy as np
import pytest

from training.datasets.shapes import Shapes
from training.errors import InvalidDataset


def test_an_image_is_the_same_every_time() -> None:
    one, other = Shapes(Path("8"), "train")[5], Shapes(Path(), "train")[5]

    assert one.id == other.id
    assert one.image.tobytes() == other.image.tobytes()
    assert np.array_equal(one.target, other.target)


def test_targets_have_the_size_of_their_images_and_only_known_classes() -> None:
    samples = [Shapes(Path("30"), "val")[index] for index in range(30)]

    assert all(sample.target.shape == (sample.image.height, sample.image.width) for sample in samples)
    assert set(np.unique(np.concatenate([sample.target.ravel() for sample in samples]))) == {0, 1, 2, 3, 255}


def test_the_lists_do_not_meet() -> None:
    train, val = Shapes(Path(), "train"), Shapes(Path(), "val")

    assert (len(train), len(val)) == (400, 100)
    assert not set(train.ids) & set(val.ids)
    assert train.image_sha256(0) != val.image_sha256(0)


@pytest.mark.parametrize(
    ("root", "split", "complaint"), [("0", "val", "must end in a number"), (".", "test", "no list")]
)
def test_what_cannot_be_drawn_is_refused(root: str, split: str, complaint: str) -> None:
    with pytest.raises(InvalidDataset, match=complaint):
        Shapes(Path(root), split)
