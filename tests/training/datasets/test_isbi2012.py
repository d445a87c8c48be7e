from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from training.datasets import check_leaks, open_dataset
from training.datasets.isbi2012 import ISBI2012
from training.errors import InvalidDataset


def pages(count: int, *, label: bool) -> list[Image.Image]:
    return [
        Image.fromarray(np.array([[0, 255, 0]] if label else [[number, 7, 9]], np.uint8)) for number in range(count)
    ]


def write_stacks(root: Path, num_images: int = 10, num_labels: int = 10) -> Path:
    root.mkdir(exist_ok=True)
    for name, images in (
        ("train-volume.tif", pages(num_images, label=False)),
        ("train-labels.tif", pages(num_labels, label=True)),
    ):
        images[0].save(root / name, save_all=True, append_images=images[1:])
    return root


def write_slices(root: Path, count: int = 12) -> Path:
    for folder, label in (("image", False), ("label", True)):
        (root / "train" / folder).mkdir(parents=True)
        for number, page in enumerate(pages(count, label=label)):
            page.save(root / "train" / folder / f"{number}.png")
    return root


def test_a_stack_has_a_slice_a_page(tmp_path: Path) -> None:
    dataset = open_dataset(f"isbi2012:trainval:{write_stacks(tmp_path)}")

    assert len(dataset) == 10
    assert dataset[3].image.getpixel((0, 0)) == (3, 3, 3)
    assert dataset[3].target.tolist() == [[0, 1, 0]]


def test_slices_of_their_own_are_ordered_by_number(tmp_path: Path) -> None:
    dataset = ISBI2012(write_slices(tmp_path), "trainval")

    assert dataset.ids == tuple(str(number) for number in range(12))
    assert dataset[10].image.getpixel((0, 0)) == (10, 10, 10)


def test_a_cell_is_no_void(tmp_path: Path) -> None:
    dataset = ISBI2012(write_stacks(tmp_path), "val")

    assert dataset.labels.classes == ("membrane", "cell")
    assert 255 not in dataset[0].target


def test_trap_17_the_last_six_slices_are_held_out(tmp_path: Path) -> None:
    train, val = (ISBI2012(write_stacks(tmp_path), split) for split in ("train", "val"))

    assert (train.ids, val.ids) == (("0", "1", "2", "3"), ("4", "5", "6", "7", "8", "9"))
    check_leaks([train], val)


@pytest.mark.parametrize(
    ("counts", "complaint"), [((8, 7), r"tif has 8 slices, train-labels\.tif has 7"), ((6, 6), "holds 6 slices")]
)
def test_stacks_that_do_not_fit_are_refused(tmp_path: Path, counts: tuple[int, int], complaint: str) -> None:
    with pytest.raises(InvalidDataset, match=complaint):
        ISBI2012(write_stacks(tmp_path, *counts), "train")


def test_a_label_of_another_value_is_refused(tmp_path: Path) -> None:
    root = write_slices(tmp_path)
    Image.fromarray(np.array([[0, 254, 0]], np.uint8)).save(root / "train" / "label" / "0.png")

    with pytest.raises(InvalidDataset, match=r"0\.png has value 254; a label is 0, membrane, or 255, cell"):
        ISBI2012(root, "train")[0]


def test_a_coloured_slice_is_refused(tmp_path: Path) -> None:
    root = write_slices(tmp_path)
    Image.new("RGB", (3, 1)).save(root / "train" / "image" / "0.png")

    with pytest.raises(InvalidDataset, match=r"0\.png has mode RGB"):
        ISBI2012(root, "train")[0]


@pytest.mark.parametrize("name", ["train-volume.tif", "train-labels.tif"])
def test_a_broken_stack_is_named(tmp_path: Path, name: str) -> None:
    (write_stacks(tmp_path) / name).write_bytes(b"no stack")

    with pytest.raises(InvalidDataset, match=f"{name} cannot be read as a TIFF stack"):
        ISBI2012(tmp_path, "train")


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidDataset, match=r"holds neither train-volume\.tif and train-labels\.tif nor image"):
        ISBI2012(tmp_path, "train")
    with pytest.raises(InvalidDataset, match="ISBI 2012 has no list 'test'"):
        ISBI2012(tmp_path, "test")
    (write_slices(tmp_path) / "train" / "label" / "3.png").unlink()
    with pytest.raises(InvalidDataset, match=r"3\.png is missing"):
        ISBI2012(tmp_path, "train")


@pytest.mark.data
def test_the_real_set_has_24_slices_to_learn_from_and_6_to_validate_on(data_root: Path) -> None:
    train, val = (ISBI2012(data_root / "isbi2012", split) for split in ("train", "val"))

    assert (len(train), len(val)) == (24, 6)
    assert val[5].image.size == (512, 512)
    assert 0.7 < np.mean([(val[index].target == 1).mean() for index in range(6)]) < 0.9
