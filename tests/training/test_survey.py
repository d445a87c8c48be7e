from pathlib import Path

import numpy as np

from tests.training.conftest import VocTree
from training.datasets import open_dataset
from training.datasets.shapes import Shapes
from training.survey import shared_images, survey, survey_lines


def test_pixels_and_images_of_every_value_are_counted(voc_tree: VocTree) -> None:
    voc_tree.write_mask("a", np.full((30, 40), 15, np.uint8))
    voc_tree.write_mask("b", np.repeat([[15, 255]], 600, axis=0).reshape(30, 40).astype(np.uint8))

    found = survey(open_dataset(f"voc:train:{voc_tree.root}"))

    assert (found.pixels[15], found.pixels[255], found.pixels.sum()) == (1800, 600, 2400)
    assert (found.images[15], found.images[255], found.images[0]) == (2, 1, 0)
    assert found.holders == {0: frozenset({15}), 1: frozenset({15, 255})}


def test_a_broken_sample_is_listed_and_the_others_are_counted(voc_tree: VocTree) -> None:
    (voc_tree.root / "JPEGImages" / "a.jpg").write_bytes(b"no picture")

    found = survey(open_dataset(f"voc:train:{voc_tree.root}"))

    assert len(found.sizes) == 1
    assert [complaint.partition("JPEGImages/")[2] for complaint in found.broken] == ["a.jpg cannot be read as an image"]


def test_an_image_that_is_there_twice_is_told(voc_tree: VocTree) -> None:
    voc_tree.add("again", seed=1)
    voc_tree.write_list("odd", ["a", "again"])
    dataset = open_dataset(f"voc:odd:{voc_tree.root}")

    found = survey(dataset)

    assert found.twins == [("a", "again")]
    assert "again is the same image as a" in survey_lines(dataset, found)


def test_trap_5_shared_images_are_found_by_id_and_by_content(voc_tree: VocTree) -> None:
    voc_tree.add("renamed", seed=3)
    voc_tree.write_list("odd", ["a", "renamed"])
    train, odd, val = (open_dataset(f"voc:{split}:{voc_tree.root}") for split in ("train", "odd", "val"))

    assert shared_images(odd, train) == [("a", "a")]
    assert shared_images(odd, val) == [("renamed", "c")]
    assert shared_images(train, val) == []


def test_a_class_that_no_image_has_is_pointed_out() -> None:
    dataset = Shapes(Path("30"), "val")

    lines = survey_lines(dataset, survey(Shapes(Path("1"), "val")))

    assert lines[0] == "30 images, 4 classes (shapes)"
    assert lines[1].startswith("1 sizes: smallest ")
    assert any(line.endswith("no image has it") for line in lines)
