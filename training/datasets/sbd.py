"""Read SBD, the Semantic Boundaries Dataset: more images with VOC's classes, and the union with VOC called trainaug.

Hariharan et al. 2011, "Semantic contours from inverse detectors", https://doi.org/10.1109/ICCV.2011.6126343. A mask is
``GTcls.Segmentation`` of a MATLAB file, classes 0 to 20; it has no void border.

SBD's own train and val both hold images of VOC's val. ``trainaug`` is free of them: it is VOC's train with VOC's masks,
and all of SBD that is in neither list of VOC; 10582 images where both sets are whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from training.datasets.files import check_folder, read_list, read_pixels
from training.datasets.matlab import read_matrix
from training.datasets.pairs import ImagePairs, Pair
from training.datasets.sample import Target
from training.datasets.voc import VOC_LABELS, voc_folder, voc_ids, voc_pairs
from training.errors import InvalidDataset

TRAINAUG = "trainaug"
FOLDERS = ("benchmark_RELEASE/dataset", "dataset", "sbd", ".")
"""Where SBD lies in a folder: as its archive unpacks, and as others call it."""


class SBD(ImagePairs):
    """Give the samples that a list names, or those of ``trainaug``."""

    def __init__(self, root: Path, split: str) -> None:
        """Read the list and check that every file it names is there.

        Args:
            root: the folder with ``benchmark_RELEASE``, or a folder with ``img`` and ``cls``; for ``trainaug`` the
                folder has ``VOCdevkit/VOC2012`` as well.
            split: ``train``, ``val`` or another list ``{split}.txt``, ``trainval`` for both, or ``trainaug``.

        Raises:
            InvalidDataset: a folder, the list or a file that it names is missing, or it names an image twice.
        """
        folder = _sbd_folder(root)
        pairs = _trainaug(root, folder) if split == TRAINAUG else _pairs(folder, _ids(folder, split))
        super().__init__(VOC_LABELS, pairs, _read_target)


def _sbd_folder(root: Path) -> Path:
    for folder in (check_folder(root) / name for name in FOLDERS):
        if (folder / "img").is_dir() and (folder / "cls").is_dir():
            return folder
    raise InvalidDataset(f"{root} holds neither benchmark_RELEASE/dataset nor img and cls")


def _ids(folder: Path, split: str) -> tuple[str, ...]:
    path = folder / f"{split}.txt"
    if path.is_file():
        return read_list(path)
    if split == "trainval":
        return _ids(folder, "train") + _ids(folder, "val")
    raise InvalidDataset(f"{path}: no such list")


def _trainaug(root: Path, folder: Path) -> list[Pair]:
    voc = voc_folder(root)
    train = voc_ids(voc, "train")
    known = {*train, *voc_ids(voc, "val")}
    return voc_pairs(voc, train) + _pairs(folder, [name for name in _ids(folder, "trainval") if name not in known])


def _pairs(folder: Path, ids: Sequence[str]) -> list[Pair]:
    return [Pair(name, folder / "img" / f"{name}.jpg", folder / "cls" / f"{name}.mat") for name in ids]


def _read_target(path: Path) -> Target:
    """Read a mask of SBD, or of VOC."""
    if path.suffix != ".mat":
        return read_pixels(path, modes=("P",))
    try:
        return read_matrix(path.read_bytes(), "GTcls", "Segmentation")
    except ValueError as error:
        raise InvalidDataset(f"{path} cannot be read as a mask: {error}") from error
