from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from training.datasets import check_leaks, open_dataset
from training.datasets.kitti_road import KittiRoad
from training.errors import InvalidDataset

COUNTS = {"um": 10, "umm": 5, "uu": 5}
RED, MAGENTA, BLACK = (255, 0, 0), (255, 0, 255), (0, 0, 0)


def write_mask(root: Path, name: str, colors: list[tuple[int, int, int]]) -> None:
    Image.fromarray(np.array([colors], np.uint8)).save(root / "training" / "gt_image_2" / f"{name}.png")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for folder in ("image_2", "gt_image_2"):
        (tmp_path / "data_road" / "training" / folder).mkdir(parents=True)
    for kind, count in COUNTS.items():
        for number in range(count):
            image = Image.new("RGB", (3, 1), (number, len(kind), ord(kind[-1])))
            image.save(tmp_path / "data_road" / "training" / "image_2" / f"{kind}_{number:06}.png")
            write_mask(tmp_path / "data_road", f"{kind}_road_{number:06}", [RED, MAGENTA, BLACK])
    write_mask(tmp_path / "data_road", "um_lane_000000", [RED, RED, RED])
    return tmp_path


def test_trap_16_magenta_is_road_red_is_not_and_black_is_void(root: Path) -> None:
    dataset = open_dataset(f"kitti-road:train:{root}")

    assert dataset.labels.classes == ("background", "road")
    assert dataset[0].target.tolist() == [[0, 1, 255]]


def test_trap_17_the_last_fifth_of_each_kind_of_street_is_held_out(root: Path) -> None:
    train, val = KittiRoad(root, "train"), KittiRoad(root / "data_road", "val")

    assert val.ids == ("um_000008", "um_000009", "umm_000004", "uu_000004")
    assert len(train) == 16
    check_leaks([train], val)
    assert set(KittiRoad(root, "trainval").ids) == {*train.ids, *val.ids}


def test_trap_16_images_may_differ_in_size(root: Path) -> None:
    Image.new("RGB", (2, 1)).save(root / "data_road" / "training" / "image_2" / "um_000000.png")
    write_mask(root / "data_road", "um_road_000000", [RED, MAGENTA])

    dataset = KittiRoad(root, "train")

    assert {sample.image.size for sample in (dataset[0], dataset[1])} == {(2, 1), (3, 1)}


def test_another_colour_is_refused(root: Path) -> None:
    write_mask(root / "data_road", "um_road_000000", [RED, (1, 2, 3), BLACK])

    with pytest.raises(InvalidDataset, match=r"um_road_000000\.png has colour \(1, 2, 3\)"):
        KittiRoad(root, "train")[0]


def test_what_is_missing_is_named(root: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidDataset, match="KITTI road has no list 'test'"):
        KittiRoad(root, "test")
    for path in (tmp_path / "data_road" / "training" / "image_2").iterdir():
        path.unlink()
    with pytest.raises(InvalidDataset, match=r"holds no image um_\*\.png"):
        KittiRoad(root, "train")
