import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as rle

from training.datasets import open_dataset
from training.datasets.coco import coco, coco_voc
from training.errors import InvalidDataset

# pycocotools' own
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

BOTTLE, PERSON, HYDRANT, TOOTHBRUSH = 44, 1, 11, 90


def box(left: int, top: int, right: int, bottom: int) -> list[list[float]]:
    return [[left, top, right, top, right, bottom, left, bottom]]


def annotation(number: int, category: int, segmentation: object, **more: object) -> dict[str, object]:
    return {"id": number, "image_id": 7, "category_id": category, "iscrowd": 0, "segmentation": segmentation, **more}


def write_coco(root: Path, annotations: list[dict[str, object]], *, grey: bool = False) -> Path:
    """Write two images of 8x6 pixels; the second has no annotation."""
    (root / "annotations").mkdir(parents=True, exist_ok=True)
    (root / "val2017").mkdir(exist_ok=True)
    images = [
        {"id": 7, "file_name": "007.jpg", "height": 6, "width": 8},
        {"id": 8, "file_name": "008.jpg", "height": 6, "width": 8},
    ]
    for image in images:
        Image.new("L" if grey else "RGB", (8, 6)).save(root / "val2017" / str(image["file_name"]))
    content = {"images": images, "annotations": annotations, "categories": []}
    (root / "annotations" / "instances_val2017.json").write_text(json.dumps(content))
    return root


def target_of(root: Path, rules: str = "") -> list[list[int]]:
    rows: list[list[int]] = coco_voc(root, f"val{rules}")[0].target.tolist()
    return rows


def test_trap_7_categories_become_the_classes_of_voc_or_of_coco(tmp_path: Path) -> None:
    root = write_coco(tmp_path, [annotation(1, BOTTLE, box(0, 0, 4, 6)), annotation(2, TOOTHBRUSH, box(4, 0, 8, 6))])

    assert target_of(root) == [[5] * 4 + [0] * 4] * 6
    assert coco(root, "val2017")[0].target.tolist() == [[40] * 4 + [80] * 4] * 6
    assert coco(root, "val2017").labels.classes[40] == "bottle"


def test_trap_8_a_crowd_is_void_or_a_class_as_the_rule_says(tmp_path: Path) -> None:
    runs = {"size": [6, 8], "counts": [6, 12, 30]}  # column-major: the second and third column
    root = write_coco(tmp_path, [annotation(1, PERSON, runs, iscrowd=1)])

    assert target_of(root) == [[0, 255, 255, 0, 0, 0, 0, 0]] * 6
    assert target_of(root, ",crowd=class") == [[0, 15, 15, 0, 0, 0, 0, 0]] * 6


def test_trap_8_run_lengths_may_be_a_string(tmp_path: Path) -> None:
    mask = np.zeros((6, 8), np.uint8, order="F")
    mask[2, 3:] = 1
    runs = {"size": [6, 8], "counts": rle.encode(mask)["counts"].decode()}

    root = write_coco(tmp_path, [annotation(1, PERSON, runs)])

    assert target_of(root) == (15 * mask).tolist()


def test_an_instance_on_a_crowd_keeps_its_class(tmp_path: Path) -> None:
    runs = {"size": [6, 8], "counts": [0, 48]}
    root = write_coco(tmp_path, [annotation(1, BOTTLE, box(0, 0, 8, 3)), annotation(2, PERSON, runs, iscrowd=1)])

    assert target_of(root, ",overlap=ignore") == [[5] * 8] * 3 + [[255] * 8] * 3


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize(
    ("rule", "row"),
    [("", [15, 15, 5, 5, 15, 15, 0, 0]), (",overlap=ignore", [15, 15, 255, 255, 15, 15, 0, 0])],
)
def test_trap_9_overlaps_do_not_depend_on_the_order(tmp_path: Path, order: int, rule: str, row: list[int]) -> None:
    instances = [annotation(1, BOTTLE, box(2, 0, 4, 6)), annotation(2, PERSON, box(0, 0, 6, 6))]

    root = write_coco(tmp_path, instances[::order])

    assert target_of(root, rule) == [row] * 6


def test_trap_10_an_image_without_annotation_is_background(tmp_path: Path) -> None:
    dataset = coco_voc(write_coco(tmp_path, []), "val2017")

    assert dataset.ids == ("007", "008")
    assert not dataset[1].target.any()


def test_trap_11_what_voc_does_not_know_is_background_and_hides_nothing(tmp_path: Path) -> None:
    root = write_coco(tmp_path, [annotation(1, HYDRANT, box(0, 0, 4, 6)), annotation(2, PERSON, box(0, 0, 8, 6))])

    assert target_of(root, ",overlap=ignore") == [[15] * 8] * 6


def test_trap_14_a_grey_image_becomes_rgb(tmp_path: Path) -> None:
    assert coco_voc(write_coco(tmp_path, [], grey=True), "val")[0].image.mode == "RGB"


def test_the_rules_are_told_even_where_nobody_chose(tmp_path: Path) -> None:
    root = write_coco(tmp_path, [])

    assert open_dataset(f"coco:val:{root}").rules == {"overlap": "small_on_top", "crowd": "ignore"}
    assert open_dataset(f"coco:val,overlap=ignore:{root}").rules == {"overlap": "ignore", "crowd": "ignore"}


@pytest.mark.parametrize(
    ("rule", "complaint"), [("crowds=class", "unknown rule 'crowds'"), ("overlap=void", "not 'void'")]
)
def test_an_unknown_rule_is_refused(tmp_path: Path, rule: str, complaint: str) -> None:
    with pytest.raises(InvalidDataset, match=complaint):
        coco(write_coco(tmp_path, []), f"val,{rule}")


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"segmentation": [[1, 2, 3, 4]]}, r"007\.jpg: instance 0 of its annotations"),
        ({"segmentation": {"size": [8, 6], "counts": [48]}}, "annotation 1 has run lengths of another size"),
        ({"segmentation": {"size": [6, 8], "counts": [47]}}, "annotation 1 has run lengths of another size"),
        ({"segmentation": {"size": [6, 8], "counts": "zzzz"}}, "annotation 1 has broken run lengths"),
        ({"category_id": 91}, r"instances_val2017\.json: annotation 1 has category 91"),
    ],
)
def test_a_bad_annotation_is_named(tmp_path: Path, change: Mapping[str, Any], complaint: str) -> None:
    root = write_coco(tmp_path, [{**annotation(1, PERSON, box(0, 0, 2, 2)), **change}])

    with pytest.raises(InvalidDataset, match=complaint):
        coco(root, "val")[0]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("{", "is not JSON"),
        ("[]", "has no lists of images and annotations"),
        ('{"images": [], "annotations": []}', "names no image"),
        ('{"images": [{"id": 1}], "annotations": []}', r"images: field '0\.file_name' is missing"),
        ('{"images": [{"id": 1, "file_name": "x.jpg", "height": 1, "width": 1}], "annotations": []}', "missing"),
        (
            '{"images": [{"id": 1, "file_name": "x.jpg", "height": 1, "width": 1}], "annotations": [7]}',
            r"annotations: 0 = 7: ",
        ),
    ],
)
def test_a_bad_annotation_file_is_named(tmp_path: Path, content: str, complaint: str) -> None:
    path = write_coco(tmp_path, []) / "annotations" / "instances_val2017.json"
    path.write_text(content)

    with pytest.raises(InvalidDataset, match=complaint):
        coco(tmp_path, "val")


def test_an_image_of_another_size_than_annotated_is_refused(tmp_path: Path) -> None:
    root = write_coco(tmp_path, [])
    Image.new("RGB", (9, 6)).save(root / "val2017" / "007.jpg")

    with pytest.raises(InvalidDataset, match=r"007\.jpg is 9x6, its mask is 8x6"):
        coco(root, "val")[0]


def test_missing_annotations_are_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidDataset, match=r"holds no instances_test\.json"):
        coco(write_coco(tmp_path, []), "test")


@pytest.mark.data
@pytest.mark.parametrize(("reader", "num_found"), [("coco", 75), ("coco-voc", 21)])
def test_the_real_set_can_be_read(data_root: Path, reader: str, num_found: int) -> None:
    dataset = open_dataset(f"{reader}:val:{data_root / 'coco'}")

    found = {int(value) for index in range(len(dataset)) for value in np.unique(dataset[index].target)}

    assert len(dataset) == 80
    assert len(found - {255}) == num_found
