"""Read the 30 slices of ISBI 2012, electron microscopy of a fly's nerve cord: cells and the membranes between them.

Arganda-Carreras et al. 2015, "Crowdsourcing the creation of image segmentation algorithms for connectomics",
https://doi.org/10.3389/fnana.2015.00142. The set is two TIFF stacks, or one PNG a slice in ``image`` and ``label``. In
the labels 0 is membrane and 255 is cell; nothing is void.

The slices lie on each other, so neighbours look alike: the last 6 are to validate on, none are drawn at random.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from training.datasets.files import check_folder, open_picture
from training.datasets.pairs import checked_sample
from training.datasets.sample import LabelSpace, Sample, Target
from training.errors import InvalidDataset

ISBI_LABELS = LabelSpace("isbi2012", ("membrane", "cell"), ((0, 0, 0), (255, 255, 255)))
STACKS = ("train-volume.tif", "train-labels.tif")
NUM_HELD_OUT = 6
CELL = 255


@dataclass(frozen=True, slots=True)
class Slice:
    """Say where image and label of a slice lie; ``page`` is that of both files."""

    id: str
    image: Path
    label: Path
    page: int = 0


class ISBI2012:
    """Give the slices of a list."""

    def __init__(self, root: Path, split: str) -> None:
        """Find the slices.

        Args:
            root: the folder with ``train-volume.tif`` and ``train-labels.tif``, or with ``image`` and ``label``, or the
                one with such a folder called ``train`` in it.
            split: ``train`` (all but the last 6), ``val`` (these) or ``trainval``.

        Raises:
            InvalidDataset: there is no such list, or a file is missing.
        """
        parts = {"train": slice(None, -NUM_HELD_OUT), "val": slice(-NUM_HELD_OUT, None), "trainval": slice(None)}
        if split not in parts:
            raise InvalidDataset(f"ISBI 2012 has no list {split!r}, only {', '.join(parts)}")
        every = _slices(root)
        if len(every) <= NUM_HELD_OUT:
            raise InvalidDataset(f"{root} holds {len(every)} slices, of which {NUM_HELD_OUT} would be held out")
        self._slices = every[parts[split]]
        self.labels = ISBI_LABELS
        self.ids = tuple(entry.id for entry in self._slices)
        self.rules: Mapping[str, str] = {}

    def __len__(self) -> int:
        """Count the samples."""
        return len(self.ids)

    def __getitem__(self, index: int) -> Sample:
        """Read an image and its target.

        Raises:
            InvalidDataset: one cannot be read or is not grey, a label is neither 0 nor 255, or their sizes differ.
        """
        entry = self._slices[index]
        image = Image.fromarray(_read_page(entry.image, entry.page)).convert("RGB")
        return checked_sample(entry.id, image, _read_label(entry.label, entry.page), source=entry.image)

    def image_sha256(self, index: int) -> str:
        """Hash the pixels: the slices of a stack share a file."""
        entry = self._slices[index]
        return hashlib.sha256(_read_page(entry.image, entry.page).tobytes()).hexdigest()


def _slices(root: Path) -> list[Slice]:
    for folder in (check_folder(root), root / "train"):
        volume, labels = (folder / name for name in STACKS)
        if volume.is_file() and labels.is_file():
            return [Slice(str(page), volume, labels, page) for page in range(_shared_pages(volume, labels))]
        if (folder / "image").is_dir() and (folder / "label").is_dir():
            return _separate(folder)
    raise InvalidDataset(f"{root} holds neither {' and '.join(STACKS)} nor image and label")


def _shared_pages(volume: Path, labels: Path) -> int:
    counts = [_num_pages(path) for path in (volume, labels)]
    if counts[0] != counts[1]:
        raise InvalidDataset(f"{volume} has {counts[0]} slices, {labels.name} has {counts[1]}")
    return counts[0]


def _num_pages(path: Path) -> int:
    with open_picture(path, f"{path} cannot be read as a TIFF stack") as stack:
        return int(getattr(stack, "n_frames", 1))


def _separate(folder: Path) -> list[Slice]:
    images = [path for path in (folder / "image").glob("*.png") if path.stem.isdecimal()]
    slices = [
        Slice(path.stem, path, folder / "label" / path.name) for path in sorted(images, key=lambda path: int(path.stem))
    ]
    for entry in slices:
        if not entry.label.is_file():
            raise InvalidDataset(f"{entry.label} is missing, but there is an image of that name")
    return slices


def _read_page(path: Path, page: int) -> Target:
    with open_picture(path, f"{path}: slice {page} cannot be read") as stack:
        stack.seek(page)
        mode = stack.mode
        pixels: Target = np.array(stack.convert("L"))
    if mode not in ("L", "1"):
        raise InvalidDataset(f"{path} has mode {mode}; a slice must be grey, mode L")
    return pixels


def _read_label(path: Path, page: int) -> Target:
    values = _read_page(path, page)
    unknown = sorted(set(np.unique(values).tolist()) - {0, CELL})
    if unknown:
        raise InvalidDataset(f"{path} has value {unknown[0]}; a label is 0, membrane, or {CELL}, cell")
    target: Target = (values == CELL).astype(np.uint8)
    return target
