"""Read PASCAL VOC segmentation, and other sets in its layout: JPEGImages, SegmentationClass and a list of ids.

Everingham et al. 2015, "The PASCAL Visual Object Classes Challenge: A Retrospective",
https://doi.org/10.1007/s11263-014-0733-5. The masks are indexed PNGs whose pixel value is the class, 255 is void.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from model_zoo.labels import VOC_CLASSES, voc_palette
from training.datasets.files import check_folder, read_list, read_pixels
from training.datasets.pairs import ImagePairs, Pair
from training.datasets.sample import LabelSpace
from training.errors import InvalidDataset

VOC_LABELS = LabelSpace("voc", VOC_CLASSES, voc_palette(len(VOC_CLASSES)))
TRAINVAL = "trainval"


class VOC(ImagePairs):
    """Give the samples that a list names."""

    def __init__(self, root: Path, split: str) -> None:
        """Read the list and check that every file it names is there.

        Args:
            root: the folder that holds ``VOCdevkit/VOC2012``, or such a folder itself.
            split: the list: ``ImageSets/Segmentation/{split}.txt``, or ``{split}.txt`` in the folder itself.
                ``trainval`` is train and val where it has no list of its own.

        Raises:
            InvalidDataset: a folder, the list or a file that it names is missing, or it names an image twice.
        """
        folder = voc_folder(root)
        super().__init__(VOC_LABELS, voc_pairs(folder, voc_ids(folder, split)), partial(read_pixels, modes=("P",)))


def voc_folder(root: Path) -> Path:
    """Find the folder that holds the images and the masks.

    Raises:
        InvalidDataset: there is none.
    """
    for folder in (check_folder(root) / "VOCdevkit" / "VOC2012", root):
        if (folder / "JPEGImages").is_dir() and (folder / "SegmentationClass").is_dir():
            return folder
    raise InvalidDataset(f"{root} holds neither VOCdevkit/VOC2012 nor JPEGImages and SegmentationClass")


def voc_ids(folder: Path, split: str) -> tuple[str, ...]:
    """Read a list.

    Raises:
        InvalidDataset: it is missing, or cannot be used.
    """
    candidates = (folder / "ImageSets" / "Segmentation" / f"{split}.txt", folder / f"{split}.txt")
    path = next((candidate for candidate in candidates if candidate.is_file()), None)
    if path is not None:
        return read_list(path)
    if split == TRAINVAL:
        return voc_ids(folder, "train") + voc_ids(folder, "val")
    raise InvalidDataset(f"{folder} has no list {split!r}: neither ImageSets/Segmentation/{split}.txt nor {split}.txt")


def voc_pairs(folder: Path, ids: Sequence[str]) -> list[Pair]:
    """Name the files of these images."""
    images, masks = folder / "JPEGImages", folder / "SegmentationClass"
    return [Pair(sample_id, images / f"{sample_id}.jpg", masks / f"{sample_id}.png") for sample_id in ids]
