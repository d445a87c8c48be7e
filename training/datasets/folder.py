"""Read any pictures that lie in a folder: images, masks of the same names, and a file that names the classes.

Either of these, and masks indexed or grey, their pixel values the classes, 255 void:

    classes.txt  images/a.jpg  masks/a.png  train.txt  val.txt
    classes.txt  train/images/a.jpg  train/masks/a.png  val/images/b.jpg  val/masks/b.png
"""

from __future__ import annotations

import json
import re
import unicodedata
from functools import partial
from pathlib import Path
from typing import Annotated

from pydantic import Field, TypeAdapter, ValidationError

from model_zoo.labels import voc_palette
from training.datasets.files import IMAGE_SUFFIXES, check_folder, first_repeated, read_list, read_pixels
from training.datasets.pairs import ImagePairs, Pair
from training.datasets.sample import LabelSpace
from training.errors import InvalidDataset

ALL = "all"
"""The split that takes every image and needs no list."""

MASK_SUFFIXES = (".png", ".bmp", ".tif", ".tiff")
"""Formats that keep every pixel's value."""

LONGEST_CLASS_NAME = 200
LONGEST_NAME = 100
"""Characters that a checkpoint can hold of either."""

Channel = Annotated[int, Field(ge=0, le=255)]
Colors = dict[str, tuple[Channel, Channel, Channel]]


class Folder(ImagePairs):
    """Give the images of a split, by the names of their files without suffix."""

    def __init__(self, root: Path, split: str) -> None:
        """Find the images, their masks and the classes.

        Args:
            root: the folder with ``classes.txt`` (a name a line, class 0 first) or ``classes.json`` (a list of names,
                or an object of name and RGB colour).
            split: a folder with images and masks in it, or a list ``{split}.txt``, or ``all``.

        Raises:
            InvalidDataset: the classes, the split or a file are missing or cannot be used.
        """
        folder = root / split if (check_folder(root) / split).is_dir() else root
        images = _files_by_stem(check_folder(folder / "images"), IMAGE_SUFFIXES)
        masks = _files_by_stem(check_folder(folder / "masks"), MASK_SUFFIXES)
        ids = tuple(images) if folder != root or split == ALL else _listed(root, split)
        if not ids:
            raise InvalidDataset(f"{folder / 'images'} holds no image")
        pairs = [
            Pair(
                sample_id,
                images.get(sample_id, folder / "images" / f"{sample_id}.*"),
                masks.get(sample_id, folder / "masks" / f"{sample_id}.png"),
            )
            for sample_id in ids
        ]
        super().__init__(_read_classes(root), pairs, partial(read_pixels, modes=("P", "L")))


def _files_by_stem(folder: Path, suffixes: tuple[str, ...]) -> dict[str, Path]:
    files: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in suffixes or path.name.startswith("."):
            continue
        if path.stem in files:
            raise InvalidDataset(f"{path} and {files[path.stem].name} have the same name")
        files[path.stem] = path
    return files


def _listed(root: Path, split: str) -> tuple[str, ...]:
    path = root / f"{split}.txt"
    if not path.is_file():
        raise InvalidDataset(f"{root} has neither a folder {split!r} nor a list {split}.txt; {ALL!r} takes every image")
    known = (*IMAGE_SUFFIXES, *MASK_SUFFIXES)
    return tuple(name.rpartition(".")[0] if name.lower().endswith(known) else name for name in read_list(path))


def _read_classes(root: Path) -> LabelSpace:
    path = next((root / name for name in ("classes.txt", "classes.json") if (root / name).is_file()), None)
    if path is None:
        raise InvalidDataset(f"{root} has neither classes.txt nor classes.json, which name the classes from 0 up")
    try:
        text = path.read_text(encoding="utf-8")
        names = json.loads(text) if path.suffix == ".json" else _lines(text)
        colored = TypeAdapter(list[str] | Colors).validate_python(names)
    except (ValidationError, ValueError) as error:
        raise InvalidDataset(f"{path} is neither a list of class names nor an object of names and colours") from error
    classes = tuple(colored)
    if not 2 <= len(classes) <= 255:
        raise InvalidDataset(f"{path} names {len(classes)} classes; a dataset has 2 to 255")
    if twice := first_repeated(classes):
        raise InvalidDataset(f"{path} names class {twice!r} twice")
    lengths = [len(name) for name in classes if not 1 <= len(name) <= LONGEST_CLASS_NAME]
    if lengths:
        raise InvalidDataset(
            f"{path} has a class name of {lengths[0]} characters; 1 to {LONGEST_CLASS_NAME} can be used"
        )
    palette = tuple(colored.values()) if isinstance(colored, dict) else voc_palette(len(classes))
    return LabelSpace(_plain(root.resolve().name), classes, palette)


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


def _plain(name: str) -> str:
    """Write a folder's name with the characters that a checkpoint can hold in a name."""
    letters = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    return re.sub(r"[^A-Za-z0-9._-]+", "-", letters).lstrip("._-")[:LONGEST_NAME] or "folder"
