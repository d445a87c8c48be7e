from pathlib import Path

import numpy as np
import pytest

from tests.training.conftest import VocTree
from tests.training.datasets.matlab_file import matlab_file
from training.datasets import check_leaks, open_dataset
from training.datasets.sbd import SBD
from training.errors import InvalidDataset


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Give a folder with VOC (train a, b; val c) and SBD (train a, c, d; val b, e) as their archives unpack."""
    voc = VocTree(tmp_path / "VOCdevkit" / "VOC2012")
    sbd = tmp_path / "benchmark_RELEASE" / "dataset"
    for folder in ("img", "cls"):
        (sbd / folder).mkdir(parents=True)
    for seed, name in enumerate("abcde"):
        voc.add(name, seed=seed)
        (sbd / "img" / f"{name}.jpg").write_bytes((voc.root / "JPEGImages" / f"{name}.jpg").read_bytes())
        (sbd / "cls" / f"{name}.mat").write_bytes(matlab_file(np.full((30, 40), 20 - seed, np.uint8)))
    voc.write_list("train", ["a", "b"])
    voc.write_list("val", ["c"])
    (sbd / "train.txt").write_text("a\nc\nd\n")
    (sbd / "val.txt").write_text("b\ne\n")
    return tmp_path


def test_a_list_gives_the_masks_of_the_matlab_files(root: Path) -> None:
    dataset = open_dataset(f"sbd:train:{root}")

    assert dataset.ids == ("a", "c", "d")
    assert np.array_equal(dataset[2].target, np.full((30, 40), 17))


def test_the_folder_itself_will_do(root: Path) -> None:
    assert SBD(root / "benchmark_RELEASE" / "dataset", "trainval").ids == ("a", "c", "d", "b", "e")


def test_trap_3_a_mask_of_sbd_is_not_transposed(root: Path) -> None:
    mask = np.arange(1200, dtype=np.uint16).reshape(30, 40) % 21
    (root / "benchmark_RELEASE" / "dataset" / "cls" / "d.mat").write_bytes(matlab_file(mask.astype(np.uint8)))

    assert np.array_equal(SBD(root, "train")[2].target, mask)


def test_trap_5_trainaug_is_voc_train_and_what_of_sbd_is_not_in_voc(root: Path) -> None:
    dataset = SBD(root, "trainaug")

    assert dataset.ids == ("a", "b", "d", "e")
    check_leaks([dataset], open_dataset(f"voc:val:{root}"))


def test_trainaug_takes_the_masks_of_voc_where_there_are_any(root: Path) -> None:
    dataset = SBD(root, "trainaug")

    assert 255 in dataset[0].target
    assert set(dataset[2].target.ravel()) == {17}


def test_trainaug_needs_voc(root: Path) -> None:
    with pytest.raises(InvalidDataset, match="neither VOCdevkit/VOC2012"):
        SBD(root / "benchmark_RELEASE", "trainaug")


@pytest.mark.parametrize("content", [b"", b"no matrix" * 30, matlab_file(np.zeros((2, 2), np.uint8))[:-9]])
def test_a_mask_that_cannot_be_read_is_named(root: Path, content: bytes) -> None:
    (root / "benchmark_RELEASE" / "dataset" / "cls" / "a.mat").write_bytes(content)

    with pytest.raises(InvalidDataset, match=r"a\.mat cannot be read as a mask"):
        SBD(root, "train")[0]


def test_a_class_that_voc_does_not_have_is_refused(root: Path) -> None:
    content = matlab_file(np.full((30, 40), 21, np.uint8))
    (root / "benchmark_RELEASE" / "dataset" / "cls" / "a.mat").write_bytes(content)

    with pytest.raises(InvalidDataset, match=r"a\.mat has class 21; classes are 0 to 20"):
        SBD(root, "train")[0]


def test_a_missing_list_or_folder_is_named(root: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidDataset, match=r"test\.txt: no such list"):
        SBD(root, "test")
    with pytest.raises(InvalidDataset, match="neither benchmark_RELEASE/dataset nor img and cls"):
        SBD(tmp_path / "VOCdevkit", "train")
