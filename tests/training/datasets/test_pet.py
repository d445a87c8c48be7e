from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from training.datasets import open_dataset
from training.datasets.pet import Pet
from training.errors import InvalidDataset


def write_trimap(root: Path, name: str, values: np.ndarray) -> None:
    Image.fromarray(values).save(root / "annotations" / "trimaps" / f"{name}.png")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Give a square animal with a border of one pixel, as the archives unpack."""
    folder = tmp_path / "oxford-iiit-pet"
    (folder / "annotations" / "trimaps").mkdir(parents=True)
    (folder / "images").mkdir()
    trimap = np.full((9, 9), 2, np.uint8)
    trimap[2:7, 2:7] = 3
    trimap[3:6, 3:6] = 1
    for name in ("Abyssinian_100", "pug_1"):
        Image.new("RGB", (9, 9)).save(folder / "images" / f"{name}.jpg")
        write_trimap(folder, name, trimap)
    (folder / "annotations" / "trainval.txt").write_text("Abyssinian_100 1 1 1\n")
    (folder / "annotations" / "test.txt").write_text("pug_1 30 2 20\n")
    return folder


def test_trap_15_value_3_is_the_thin_band_around_the_animal(root: Path) -> None:
    dataset = open_dataset(f"pet:trainval:{root.parent}")

    target = dataset[0].target

    assert dataset.labels.classes == ("background", "pet", "border")
    assert (target[0, 0], target[4, 4], target[2, 4]) == (0, 1, 2)
    assert (target == 2).sum() == 16


def test_a_list_has_more_words_than_the_name(root: Path) -> None:
    assert Pet(root, "trainval").ids == ("Abyssinian_100",)
    assert Pet(root, "test").ids == ("pug_1",)


def test_another_value_is_refused(root: Path) -> None:
    write_trimap(root, "pug_1", np.zeros((9, 9), np.uint8))

    with pytest.raises(InvalidDataset, match=r"pug_1\.png has value 0; a trimap has 1 pet"):
        Pet(root, "test")[0]


def test_a_missing_list_is_named(root: Path) -> None:
    with pytest.raises(InvalidDataset, match=r"val\.txt: no such list"):
        Pet(root, "val")
