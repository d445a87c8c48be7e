"""Read the trimaps of the Oxford-IIIT Pet dataset.

Parkhi et al. 2012, "Cats and dogs", https://doi.org/10.1109/CVPR.2012.6248092. The values of a trimap are, as its own
README has it, 1 pet, 2 background, 3 not classified: the band around the animal. TensorFlow's tutorial swaps the
names of the last two. Here they are background 0, pet 1 and border 2; nothing is void and nothing is folded together.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from training.datasets.files import check_folder, read_list, read_pixels
from training.datasets.pairs import ImagePairs, Pair
from training.datasets.sample import LabelSpace, Target
from training.errors import InvalidDataset

PET_LABELS = LabelSpace("pet", ("background", "pet", "border"), ((0, 0, 0), (0, 160, 120), (255, 220, 0)))
CLASS_OF = {1: 1, 2: 0, 3: 2}


class Pet(ImagePairs):
    """Give the pictures that a list names."""

    def __init__(self, root: Path, split: str) -> None:
        """Read the list and check that every file it names is there.

        Args:
            root: the folder with ``images`` and ``annotations``, or the one with ``oxford-iiit-pet`` in it.
            split: ``trainval`` or ``test``, or another list ``annotations/{split}.txt``.

        Raises:
            InvalidDataset: a folder, the list or a file that it names is missing, or it names an image twice.
        """
        inner = check_folder(root) / "oxford-iiit-pet"
        folder = inner if inner.is_dir() else root
        images, annotations = check_folder(folder / "images"), check_folder(folder / "annotations")
        path = annotations / f"{split}.txt"
        if not path.is_file():
            raise InvalidDataset(f"{path}: no such list")
        trimaps = annotations / "trimaps"
        pairs = [Pair(name, images / f"{name}.jpg", trimaps / f"{name}.png") for name in read_list(path)]
        super().__init__(PET_LABELS, pairs, _read_target)


def _read_target(path: Path) -> Target:
    values = read_pixels(path, modes=("L", "P"))
    unknown = sorted(set(np.unique(values).tolist()) - CLASS_OF.keys())
    if unknown:
        raise InvalidDataset(f"{path} has value {unknown[0]}; a trimap has 1 pet, 2 background and 3 border")
    table = np.zeros(256, np.uint8)
    table[list(CLASS_OF)] = list(CLASS_OF.values())
    return table[values]
