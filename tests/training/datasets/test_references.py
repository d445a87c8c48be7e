from pathlib import Path

import pytest

from tests.training.conftest import VocTree
from training.datasets import Reference, check_leaks, open_dataset
from training.errors import InvalidDataset, LeakingDataset


def test_a_reference_names_reader_list_and_path(voc_tree: VocTree) -> None:
    dataset = open_dataset(f"voc:val:{voc_tree.root}")

    assert dataset.ids == ("c",)


def test_a_path_may_hold_colons() -> None:
    assert Reference.parse("voc:train:disk:pictures").root == Path("disk:pictures")


@pytest.mark.parametrize(("text", "name"), [("shapes:train", "shapes"), ("shapes:train:64", "shapes")])
def test_a_set_without_folder_goes_by_the_name_of_its_reader(text: str, name: str) -> None:
    assert Reference.parse(text).name == name


def test_a_set_goes_by_the_name_of_its_folder(voc_tree: VocTree) -> None:
    assert Reference.parse(f"voc:train:{voc_tree.root}/").name == "pictures"


@pytest.mark.parametrize(
    ("text", "complaint"), [("vox:train:x", "unknown dataset 'vox', known are voc, "), ("voc", "names no list")]
)
def test_an_unreadable_reference_is_refused(text: str, complaint: str) -> None:
    with pytest.raises(InvalidDataset, match=complaint):
        open_dataset(text)


def test_trap_5_a_validation_id_among_the_training_ids_is_refused(voc_tree: VocTree) -> None:
    voc_tree.write_list("trainaug", ["a", "c"])
    train, val = open_dataset(f"voc:trainaug:{voc_tree.root}"), open_dataset(f"voc:val:{voc_tree.root}")

    with pytest.raises(LeakingDataset, match="c is in training and in validation"):
        check_leaks([train], val)


def test_trap_5_a_validation_image_under_another_id_is_refused(voc_tree: VocTree) -> None:
    voc_tree.add("renamed", seed=3)
    voc_tree.write_list("trainaug", ["a", "renamed"])
    train, val = open_dataset(f"voc:trainaug:{voc_tree.root}"), open_dataset(f"voc:val:{voc_tree.root}")

    with pytest.raises(LeakingDataset, match="renamed is the same file as validation image c"):
        check_leaks([train], val)


def test_sets_that_share_nothing_pass(voc_tree: VocTree) -> None:
    check_leaks([open_dataset(f"voc:train:{voc_tree.root}")], open_dataset(f"voc:val:{voc_tree.root}"))


@pytest.mark.data
def test_trap_5_the_real_sets_do_not_leak(data_root: Path) -> None:
    names = ("voc", "extra/voc_sbd", "extra/msrc", "extra/coco")

    check_leaks(
        [open_dataset(f"voc:train:{data_root / name}") for name in names], open_dataset(f"voc:val:{data_root}/voc")
    )
