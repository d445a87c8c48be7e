from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from training.datasets import open_dataset
from training.datasets.camvid import CamVid
from training.errors import InvalidDataset


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for split, name in (("train", "0001TP_006690"), ("train", "0006R0_f00930"), ("val", "0016E5_07959")):
        for folder in (split, f"{split}annot"):
            (tmp_path / folder).mkdir(exist_ok=True)
        Image.new("RGB", (3, 1)).save(tmp_path / split / f"{name}.png")
        Image.fromarray(np.array([[0, 10, 11]], np.uint8)).save(tmp_path / f"{split}annot" / f"{name}.png")
    return tmp_path


def test_trap_52_class_11_is_void_and_no_class(root: Path) -> None:
    dataset = open_dataset(f"camvid:train:{root}")

    assert dataset[0].target.tolist() == [[0, 10, 255]]
    assert len(dataset.labels.classes) == len(dataset.labels.palette) == 11
    assert (dataset.labels.classes[0], dataset.labels.classes[10]) == ("sky", "bicyclist")


def test_trap_17_the_lists_are_the_authors(root: Path) -> None:
    assert CamVid(root, "train").ids == ("0001TP_006690", "0006R0_f00930")
    assert CamVid(root, "val").ids == ("0016E5_07959",)
    assert CamVid(root, "trainval").ids == ("0001TP_006690", "0006R0_f00930", "0016E5_07959")


@pytest.mark.parametrize(("split", "complaint"), [("all", "CamVid has no list 'all'"), ("test", "no such folder")])
def test_a_missing_list_is_named(root: Path, split: str, complaint: str) -> None:
    with pytest.raises(InvalidDataset, match=complaint):
        CamVid(root, split)


def test_an_empty_list_is_named(root: Path) -> None:
    (root / "test").mkdir()

    with pytest.raises(InvalidDataset, match="test holds no image"):
        CamVid(root, "test")


def test_class_12_is_refused(root: Path) -> None:
    Image.fromarray(np.array([[0, 12, 11]], np.uint8)).save(root / "valannot" / "0016E5_07959.png")

    with pytest.raises(InvalidDataset, match=r"0016E5_07959\.png has class 12; classes are 0 to 10"):
        CamVid(root, "val")[0]
