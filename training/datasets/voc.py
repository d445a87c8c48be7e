"""Read PASCAL VOC segmentation, and other sets in its layout: JPEGImages, SegmentationClass and a list of ids.

Everingham et al. 2015, "The PASCAL Visual Object Classes Challenge: A Retrospective",
https://doi.org/10.1007/s11263-014-0733-5. The masks are indexed PNGs whose pixel value is the class, 255 is void.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from model_zoo.labels import IGNORE_INDEX, VOC_CLASSES, voc_palette
from model_zoo.preprocess import UnsupportedMode, upright_rgb
from training.datasets.sample import LabelSpace, Sample, Target
from training.errors import InvalidDataset

VOC_LABELS = LabelSpace("voc", VOC_CLASSES, voc_palette(len(VOC_CLASSES)))


class VOC:
    """Give the samples that a list names."""

    def __init__(self, root: Path, split: str) -> None:
        """Read the list and check that every file it names is there.

        Args:
            root: the folder that holds ``VOCdevkit/VOC2012``, or such a folder itself.
            split: the list: ``ImageSets/Segmentation/{split}.txt``, or ``{split}.txt`` in the folder itself.

        Raises:
            InvalidDataset: a folder, the list or a file that it names is missing, or it names an image twice.
        """
        self._folder = _images_folder(root)
        self.labels = VOC_LABELS
        self.ids = _read_list(self._folder, split)
        for sample_id in self.ids:
            for path in (self._image_path(sample_id), self._mask_path(sample_id)):
                if not path.is_file():
                    raise InvalidDataset(f"{path} is missing, but list {split!r} names it")

    def __len__(self) -> int:
        """Count the samples."""
        return len(self.ids)

    def __getitem__(self, index: int) -> Sample:
        """Read an image and its mask.

        Raises:
            InvalidDataset: one of them cannot be read, the mask is not indexed or has unknown classes, or their
                sizes differ.
        """
        sample_id = self.ids[index]
        image = _read_image(self._image_path(sample_id))
        target = _read_mask(self._mask_path(sample_id), num_classes=len(self.labels.classes))
        height, width = target.shape
        if image.size != (width, height):
            sizes = f"{image.width}x{image.height}, its mask is {width}x{height}"
            raise InvalidDataset(f"{self._image_path(sample_id)} is {sizes}")
        return Sample(sample_id, image, target)

    def image_sha256(self, index: int) -> str:
        """Hash the bytes of the image's file."""
        return hashlib.sha256(self._image_path(self.ids[index]).read_bytes()).hexdigest()

    def _image_path(self, sample_id: str) -> Path:
        return self._folder / "JPEGImages" / f"{sample_id}.jpg"

    def _mask_path(self, sample_id: str) -> Path:
        return self._folder / "SegmentationClass" / f"{sample_id}.png"


def _images_folder(root: Path) -> Path:
    if not root.is_dir():
        raise InvalidDataset(f"{root}: no such folder")
    for folder in (root / "VOCdevkit" / "VOC2012", root):
        if (folder / "JPEGImages").is_dir() and (folder / "SegmentationClass").is_dir():
            return folder
    raise InvalidDataset(f"{root} holds neither VOCdevkit/VOC2012 nor JPEGImages and SegmentationClass")


def _read_list(folder: Path, split: str) -> tuple[str, ...]:
    candidates = (folder / "ImageSets" / "Segmentation" / f"{split}.txt", folder / f"{split}.txt")
    path = next((candidate for candidate in candidates if candidate.is_file()), None)
    if path is None:
        raise InvalidDataset(
            f"{folder} has no list {split!r}: neither ImageSets/Segmentation/{split}.txt nor {split}.txt"
        )
    try:
        ids = tuple(path.read_text(encoding="utf-8").split())
    except UnicodeDecodeError as error:
        raise InvalidDataset(f"{path} is not a list of image names, one a line, in UTF-8") from error
    if not ids:
        raise InvalidDataset(f"{path} names no image")
    seen: set[str] = set()
    for sample_id in ids:
        if sample_id in seen:
            raise InvalidDataset(f"{path} names {sample_id} twice")
        seen.add(sample_id)
    return ids


def _read_image(path: Path) -> Image.Image:
    try:
        with Image.open(path) as image:
            image.load()
            return upright_rgb(image)
    except UnsupportedMode as error:
        raise InvalidDataset(f"{path}: {error}") from error
    except (OSError, UnidentifiedImageError, SyntaxError, ValueError) as error:
        raise InvalidDataset(f"{path} cannot be read as an image") from error


def _read_mask(path: Path, *, num_classes: int) -> Target:
    try:
        with Image.open(path) as mask:
            mode = mask.mode
            target = np.array(mask)
    except (OSError, UnidentifiedImageError, SyntaxError, ValueError) as error:
        raise InvalidDataset(f"{path} cannot be read as a mask") from error
    if mode != "P":
        raise InvalidDataset(f"{path} has mode {mode}; a mask must be indexed, mode P, its pixel values the classes")
    unknown = sorted(set(np.flatnonzero(np.bincount(target.ravel()))) - {*range(num_classes), IGNORE_INDEX})
    if unknown:
        raise InvalidDataset(
            f"{path} has class {unknown[0]}; classes are 0 to {num_classes - 1} and {IGNORE_INDEX} for void"
        )
    return target
