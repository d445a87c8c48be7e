import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from training.datasets import open_dataset
from training.datasets.folder import Folder
from training.errors import InvalidDataset
from training.recipe import read_recipe


def write_pair(folder: Path, name: str, classes: np.ndarray, *, suffix: str = ".jpg", indexed: bool = False) -> None:
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    height, width = classes.shape
    Image.new("RGB", (width, height), "orange").save(folder / "images" / f"{name}{suffix}")
    mask = Image.fromarray(classes)
    if indexed:
        mask.putpalette([9, 9, 9, 200, 0, 0])
    mask.save(folder / "masks" / f"{name}.png")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "fields"
    write_pair(root, "a", np.array([[0, 1], [255, 1]], np.uint8))
    write_pair(root, "b.1", np.array([[1, 0]], np.uint8), suffix=".PNG", indexed=True)
    write_pair(root, "c", np.array([[0]], np.uint8), suffix=".webp")
    (root / "classes.txt").write_text("soil\ncrop\n")
    (root / "train.txt").write_text("c\na\n")
    (root / "val.txt").write_text("b.1.PNG\n")
    return root


def test_a_list_says_which_images_and_in_which_order(tree: Path) -> None:
    dataset = open_dataset(f"folder:train:{tree}")

    assert dataset.ids == ("c", "a")
    assert dataset[1].target.tolist() == [[0, 1], [255, 1]]


def test_an_indexed_mask_is_read_by_index_and_a_list_may_say_the_suffix(tree: Path) -> None:
    dataset = Folder(tree, "val")

    assert dataset.ids == ("b.1",)
    assert dataset[0].target.tolist() == [[1, 0]]


def test_all_needs_no_list(tree: Path) -> None:
    assert Folder(tree, "all").ids == ("a", "b.1", "c")


def test_a_split_may_be_a_folder(tree: Path) -> None:
    write_pair(tree / "test", "z", np.array([[1]], np.uint8))

    assert Folder(tree, "test").ids == ("z",)


def test_classes_come_in_the_order_of_their_file(tree: Path) -> None:
    labels = Folder(tree, "all").labels

    assert (labels.name, labels.classes) == ("fields", ("soil", "crop"))
    assert labels.palette == ((0, 0, 0), (128, 0, 0))


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("my data", "my-data"),
        ("données", "donnees"),
        ("-x", "x"),
        ("數據", "folder"),
        ("a" * 120, "a" * 100),
    ],
)
def test_a_folder_of_any_name_has_a_label_space_that_a_checkpoint_can_hold(tree: Path, folder: str, name: str) -> None:
    labels = Folder(tree.rename(tree.with_name(folder)), "all").labels

    assert labels.name == name
    assert read_recipe("quick", {}).spec(labels).label_space == name


def test_classes_may_have_colours(tree: Path) -> None:
    (tree / "classes.txt").unlink()
    (tree / "classes.json").write_text(json.dumps({"soil": [90, 60, 30], "crop": [0, 200, 0]}))

    assert Folder(tree, "all").labels.palette == ((90, 60, 30), (0, 200, 0))


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("classes.txt", "only", "names 1 classes; a dataset has 2 to 255"),
        ("classes.txt", "soil\nsoil", "names class 'soil' twice"),
        ("classes.txt", f"soil\n{'x' * 201}", r"classes\.txt has a class name of 201 characters; 1 to 200 can be used"),
        ("classes.json", '["soil", ""]', r"classes\.json has a class name of 0 characters; 1 to 200 can be used"),
        ("classes.json", "{", "neither a list of class names"),
        ("classes.json", '{"a": [0, 0, 256], "b": [0, 0, 0]}', "neither a list of class names"),
        ("other.txt", "", "neither classes.txt nor classes.json"),
    ],
)
def test_classes_that_cannot_be_used_are_refused(tree: Path, name: str, content: str, complaint: str) -> None:
    (tree / "classes.txt").unlink()
    (tree / name).write_text(content)

    with pytest.raises(InvalidDataset, match=complaint):
        Folder(tree, "all")


@pytest.mark.parametrize(
    ("missing", "complaint"),
    [("images/a.jpg", r"images/a\.\* is missing"), ("masks/a.png", r"masks/a\.png is missing")],
)
def test_what_a_list_names_must_be_there(tree: Path, missing: str, complaint: str) -> None:
    (tree / missing).unlink()

    with pytest.raises(InvalidDataset, match=complaint):
        Folder(tree, "train")


def test_a_split_that_is_nowhere_is_refused(tree: Path) -> None:
    with pytest.raises(InvalidDataset, match=r"neither a folder 'test' nor a list test\.txt"):
        Folder(tree, "test")


def test_two_images_of_one_name_are_refused(tree: Path) -> None:
    write_pair(tree, "a", np.array([[0]], np.uint8), suffix=".png")

    with pytest.raises(InvalidDataset, match=r"a\.png and a\.jpg have the same name"):
        Folder(tree, "all")


def test_an_empty_folder_is_refused(tree: Path) -> None:
    for part in ("images", "masks"):
        (tree / "test" / part).mkdir(parents=True)

    with pytest.raises(InvalidDataset, match="images holds no image"):
        Folder(tree, "test")


@pytest.mark.parametrize("mode", ["RGB", "1", "LA"])
def test_trap_3_a_mask_of_colours_is_refused(tree: Path, mode: str) -> None:
    Image.new(mode, (2, 2)).save(tree / "masks" / "a.png")

    with pytest.raises(InvalidDataset, match=rf"a\.png has mode {mode}; a mask here must have mode P or L"):
        Folder(tree, "all")[0]


@pytest.mark.parametrize("path", ["images/a.jpg", "masks/a.png"])
def test_a_picture_of_too_many_pixels_is_refused_in_one_line_that_names_it(
    tree: Path, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_pair(tree, "a", np.zeros((30, 100), np.uint8))
    Image.new("L", (2, 2)).save(tree / ("masks/a.png" if path.startswith("images") else "images/a.jpg"))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1400)

    with pytest.raises(InvalidDataset, match=rf"{path} cannot be read as an? (image|mask): .*3000 pixels.*2800 pixels"):
        Folder(tree, "all")[0]


def test_a_picture_that_pillow_warns_of_is_read(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_pair(tree, "a", np.zeros((30, 100), np.uint8))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 2000)

    assert Folder(tree, "all")[0].target.shape == (30, 100)


def test_a_class_that_the_file_does_not_name_is_refused(tree: Path) -> None:
    write_pair(tree, "a", np.array([[2]], np.uint8))

    with pytest.raises(InvalidDataset, match=r"a\.png has class 2; classes are 0 to 1"):
        Folder(tree, "all")[0]
