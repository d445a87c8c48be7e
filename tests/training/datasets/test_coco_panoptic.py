import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from training.datasets import open_dataset
from training.datasets.coco_panoptic import CocoPanoptic
from training.errors import InvalidDataset


def write_panoptic(root: Path, *, mode: str = "RGB", **change: object) -> Path:
    """Write one mask with a person (300), a rug (70000), a crowd of people (2) and an unlabelled pixel."""
    ids = np.array([[300, 70000, 2, 0]])
    mask = Image.fromarray(np.stack([ids % 256, ids // 256 % 256, ids // 65536], axis=2).astype(np.uint8))
    for folder in ("val2017", "annotations/panoptic_val2017"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    mask.convert(mode).save(root / "annotations" / "panoptic_val2017" / "0001.png")
    Image.new("RGB", (4, 1)).save(root / "val2017" / "0001.jpg")
    segments = [
        {"id": 300, "category_id": 1, "iscrowd": 0},
        {"id": 70000, "category_id": 200, "iscrowd": 0},
        {"id": 2, "category_id": 1, "iscrowd": 1},
    ]
    content = {
        "images": [{"id": 1, "file_name": "0001.jpg", "height": 1, "width": 4}],
        "annotations": [{"image_id": 1, "file_name": "0001.png", "segments_info": segments, **change}],
    }
    (root / "annotations" / "panoptic_val2017.json").write_text(json.dumps(content))
    return root


def test_trap_7_a_pixel_is_the_id_of_a_segment_in_three_bytes(tmp_path: Path) -> None:
    dataset = open_dataset(f"coco-panoptic:val:{write_panoptic(tmp_path)}")

    assert len(dataset.labels.classes) == 133
    assert dataset[0].target.tolist() == [[0, 132, 255, 255]]
    assert (dataset.labels.classes[0], dataset.labels.classes[132]) == ("person", "rug-merged")


def test_trap_8_a_crowd_may_be_a_class(tmp_path: Path) -> None:
    dataset = CocoPanoptic(write_panoptic(tmp_path), "val,crowd=class")

    assert dataset[0].target.tolist() == [[0, 132, 0, 255]]
    assert dataset.rules == {"crowd": "class"}


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"segments_info": []}, r"0001\.png has segment 2, which the annotations do not name"),
        ({"segments_info": [{"id": 2, "category_id": 12}]}, "segment 2 has category 12, unknown to COCO"),
        ({"segments_info": 5}, r"annotations: 0\.segments_info = 5: "),
        ({"image_id": 9}, "an annotation is of image 9"),
        ({"file_name": "0002.png"}, r"0002\.png is missing"),
        ({"mode": "L"}, r"0001\.png has mode L"),
    ],
)
def test_bad_annotations_are_named(tmp_path: Path, change: Mapping[str, Any], complaint: str) -> None:
    root = write_panoptic(tmp_path, **change)

    with pytest.raises(InvalidDataset, match=complaint):
        CocoPanoptic(root, "val")[0]


def test_panoptic_has_no_rule_for_overlaps(tmp_path: Path) -> None:
    with pytest.raises(InvalidDataset, match="unknown rule 'overlap', known are crowd"):
        CocoPanoptic(write_panoptic(tmp_path), "val,overlap=ignore")


@pytest.mark.data
def test_the_real_set_can_be_read(data_root: Path) -> None:
    train, val = (CocoPanoptic(data_root / "coco", split) for split in ("train", "val2017"))

    assert (len(train), len(val)) == (72, 2)
    assert val.ids == ("000000005001", "000000006818")
    assert len(np.unique(val[1].target)) > 3
