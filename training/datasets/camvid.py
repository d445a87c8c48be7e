"""Read CamVid with 11 classes, in the SegNet authors' layout: train, trainannot, val, valannot, test, testannot.

Brostow et al. 2009, "Semantic object classes in video", https://doi.org/10.1016/j.patrec.2008.04.005; the 11 classes
and the lists are those of Badrinarayanan et al. 2015, https://arxiv.org/abs/1511.00561. A mask is grey or indexed, its
values 0 to 10 the classes and 11 void, which is left out of scores.

The images are frames of drives, so neighbours look alike. The lists stay as the authors drew them: never mix and
draw them again.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from model_zoo.labels import IGNORE_INDEX
from training.datasets.files import check_folder, read_pixels
from training.datasets.pairs import ImagePairs, Pair
from training.datasets.sample import LabelSpace, Target
from training.errors import InvalidDataset

CAMVID_LABELS = LabelSpace(
    "camvid",
    ("sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car", "pedestrian", "bicyclist"),
    (
        (128, 128, 128), (128, 0, 0), (192, 192, 128), (128, 64, 128), (60, 40, 222), (128, 128, 0),
        (192, 128, 128), (64, 64, 128), (64, 0, 128), (64, 64, 0), (0, 128, 192),
    ),
)  # fmt: skip
SPLITS = {"train": ("train",), "val": ("val",), "test": ("test",), "trainval": ("train", "val")}
VOID = 11


class CamVid(ImagePairs):
    """Give the frames of a list."""

    def __init__(self, root: Path, split: str) -> None:
        """Find the frames and their masks.

        Args:
            root: the folder with ``train``, ``trainannot`` and so on.
            split: ``train``, ``val``, ``test``, or ``trainval`` for the first two.

        Raises:
            InvalidDataset: there is no such list, or a folder or a mask is missing.
        """
        if split not in SPLITS:
            raise InvalidDataset(f"CamVid has no list {split!r}, only {', '.join(SPLITS)}")
        images = [path for name in SPLITS[split] for path in sorted(check_folder(root / name).glob("*.png"))]
        if not images:
            raise InvalidDataset(f"{root / split} holds no image")
        pairs = [Pair(path.stem, path, root / f"{path.parent.name}annot" / path.name) for path in images]
        super().__init__(CAMVID_LABELS, pairs, _read_target)


def _read_target(path: Path) -> Target:
    values = read_pixels(path, modes=("L", "P"))
    return np.where(values == VOID, np.uint8(IGNORE_INDEX), values)
