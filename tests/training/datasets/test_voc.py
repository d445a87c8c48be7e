import hashlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.training.conftest import VocTree
from training.datasets.voc import VOC
from training.errors import InvalidDataset


def test_images_and_targets_come_in_the_order_of_the_list(voc_tree: VocTree) -> None:
    dataset = VOC(voc_tree.root, "train")

    samples = [dataset[index] for index in range(len(dataset))]

    assert [sample.id for sample in samples] == ["a", "b"]
    assert samples[0].image.size == (40, 30)
    assert samples[0].target.shape == (30, 40)


def test_trap_3_a_target_holds_the_indices_of_the_mask_and_255_for_void(voc_tree: VocTree) -> None:
    classes = np.array([[0, 20, 255], [7, 7, 1]], np.uint8).repeat(15, 0).repeat(14, 1)[:, :40]
    voc_tree.write_mask("a", classes)

    target = VOC(voc_tree.root, "train")[0].target

    assert target.dtype == np.uint8
    assert np.array_equal(target, classes)


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_trap_3_a_mask_that_is_not_indexed_is_refused(voc_tree: VocTree, mode: str) -> None:
    voc_tree.write_mask("a", np.zeros((30, 40), np.uint8), mode)

    with pytest.raises(InvalidDataset, match=rf"a\.png has mode {mode}"):
        VOC(voc_tree.root, "train")[0]


def test_trap_13_an_image_is_turned_upright_before_its_mask_is_compared(voc_tree: VocTree) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    lying = Image.new("RGB", (30, 40))
    voc_tree.write_image("a", lying, exif=exif)

    assert VOC(voc_tree.root, "train")[0].image.size == (40, 30)


@pytest.mark.parametrize("mode", ["L", "CMYK", "RGB"])
def test_trap_14_any_kind_of_jpeg_becomes_rgb(voc_tree: VocTree, mode: str) -> None:
    voc_tree.write_image("a", Image.new(mode, (40, 30)))

    assert VOC(voc_tree.root, "train")[0].image.mode == "RGB"


def test_the_folder_above_vocdevkit_will_do(voc_tree: VocTree, tmp_path: Path) -> None:
    above = tmp_path / "above"
    (above / "VOCdevkit").mkdir(parents=True)
    voc_tree.root.rename(above / "VOCdevkit" / "VOC2012")

    assert VOC(above, "train").ids == ("a", "b")


def test_a_list_may_lie_beside_the_images(voc_tree: VocTree) -> None:
    voc_tree.write_list("rare", ["b"], folder=".")

    assert VOC(voc_tree.root, "rare").ids == ("b",)


def test_the_hash_is_that_of_the_file(voc_tree: VocTree) -> None:
    content = (voc_tree.root / "JPEGImages" / "b.jpg").read_bytes()

    assert VOC(voc_tree.root, "train").image_sha256(1) == hashlib.sha256(content).hexdigest()


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidDataset, match="nowhere: no such folder"):
        VOC(tmp_path / "nowhere", "train")


def test_a_folder_without_images_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidDataset, match="neither VOCdevkit/VOC2012 nor JPEGImages"):
        VOC(tmp_path, "train")


def test_trainval_is_both_lists_where_it_has_none_of_its_own(voc_tree: VocTree) -> None:
    assert VOC(voc_tree.root, "trainval").ids == ("a", "b", "c")


def test_a_list_of_trainval_counts_where_there_is_one(voc_tree: VocTree) -> None:
    voc_tree.write_list("trainval", ["c"])

    assert VOC(voc_tree.root, "trainval").ids == ("c",)


def test_a_missing_list_is_named(voc_tree: VocTree) -> None:
    with pytest.raises(InvalidDataset, match="no list 'test'"):
        VOC(voc_tree.root, "test")


def test_a_list_that_is_no_text_is_named(voc_tree: VocTree) -> None:
    voc_tree.write_list("odd", ["a"])
    (found,) = voc_tree.root.rglob("odd.txt")
    found.write_bytes(b"\xff\xfe\x00")

    with pytest.raises(InvalidDataset, match=r"odd\.txt is not a list of image names"):
        VOC(voc_tree.root, "odd")


@pytest.mark.parametrize(("ids", "complaint"), [([], "names no image"), (["a", "b", "a"], "names a twice")])
def test_a_list_that_says_nothing_or_says_it_twice_is_refused(
    voc_tree: VocTree, ids: list[str], complaint: str
) -> None:
    voc_tree.write_list("odd", ids)

    with pytest.raises(InvalidDataset, match=complaint):
        VOC(voc_tree.root, "odd")


@pytest.mark.parametrize("name", ["JPEGImages/b.jpg", "SegmentationClass/b.png"])
def test_a_missing_file_is_named_before_anything_is_read(voc_tree: VocTree, name: str) -> None:
    (voc_tree.root / name).unlink()

    with pytest.raises(InvalidDataset, match=f"{name} is missing"):
        VOC(voc_tree.root, "train")


@pytest.mark.parametrize("name", ["JPEGImages/a.jpg", "SegmentationClass/a.png"])
@pytest.mark.parametrize("content", [b"", b"no picture", b"\xff\xd8\xff\xe0 cut"])
def test_a_broken_file_is_named(voc_tree: VocTree, name: str, content: bytes) -> None:
    (voc_tree.root / name).write_bytes(content)

    with pytest.raises(InvalidDataset, match=f"{name} cannot be read"):
        VOC(voc_tree.root, "train")[0]


def test_a_truncated_image_is_named(voc_tree: VocTree) -> None:
    path = voc_tree.root / "JPEGImages" / "a.jpg"
    path.write_bytes(path.read_bytes()[:-300])

    with pytest.raises(InvalidDataset, match=r"a\.jpg cannot be read"):
        VOC(voc_tree.root, "train")[0]


def test_a_mask_of_another_size_is_refused(voc_tree: VocTree) -> None:
    voc_tree.write_mask("a", np.zeros((40, 30), np.uint8))

    with pytest.raises(InvalidDataset, match=r"a\.jpg is 40x30, its mask is 30x40"):
        VOC(voc_tree.root, "train")[0]


def test_a_class_outside_the_table_is_refused(voc_tree: VocTree) -> None:
    voc_tree.write_mask("a", np.full((30, 40), 21, np.uint8))

    with pytest.raises(InvalidDataset, match=r"a\.png has class 21; classes are 0 to 20"):
        VOC(voc_tree.root, "train")[0]


@pytest.mark.data
@pytest.mark.parametrize(
    ("folder", "split", "count"),
    [
        ("voc", "train", 677),
        ("voc", "val", 346),
        ("voc", "trainval", 1023),
        ("voc/VOCdevkit/VOC2012", "val", 346),
        ("extra/voc_sbd", "train", 327),
        ("extra/msrc", "train", 379),
        ("extra/coco", "train", 74),
    ],
)
def test_the_real_sets_have_all_their_images(data_root: Path, folder: str, split: str, count: int) -> None:
    dataset = VOC(data_root / folder, split)

    assert len(dataset) == count
    assert dataset[count - 1].id == dataset.ids[-1]
