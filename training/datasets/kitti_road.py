"""Read KITTI road: what of a street view is road, in the layout of the benchmark's archive.

Fritsch et al. 2013, "A new performance measure and evaluation benchmark for road detection algorithms",
https://doi.org/10.1109/ITSC.2013.6728473. A mask is coloured: magenta is road, red is not, black is void.

Only the 289 training images have masks. Those to validate on are the last fifth, by name, of each of the three kinds of
street (um, umm, uu): neighbours in number are often neighbours on the road, so none are drawn at random.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import numpy as np

from model_zoo.labels import IGNORE_INDEX
from training.datasets.files import check_folder, read_pixels
from training.datasets.pairs import ImagePairs, Pair
from training.datasets.sample import LabelSpace, Target
from training.errors import InvalidDataset

KITTI_ROAD_LABELS = LabelSpace("kitti-road", ("background", "road"), ((255, 0, 0), (255, 0, 255)))
SPLITS = ("train", "val", "trainval")
COLORS = {(255, 0, 0): 0, (255, 0, 255): 1, (0, 0, 0): IGNORE_INDEX}


class KittiRoad(ImagePairs):
    """Give the images of a list."""

    def __init__(self, root: Path, split: str) -> None:
        """Find the images and their masks.

        Args:
            root: the folder with ``training/image_2`` and ``training/gt_image_2``, or the one with ``data_road`` in it.
            split: ``train``, ``val``, or ``trainval`` for both.

        Raises:
            InvalidDataset: there is no such list, or a folder or a mask is missing.
        """
        if split not in SPLITS:
            raise InvalidDataset(f"KITTI road has no list {split!r}, only {', '.join(SPLITS)}")
        above = root / "data_road" if (check_folder(root) / "data_road").is_dir() else root
        masks = check_folder(above / "training" / "gt_image_2")
        images = _listed(check_folder(above / "training" / "image_2"), split)
        super().__init__(KITTI_ROAD_LABELS, [Pair(path.stem, path, masks / _mask_name(path)) for path in images], _read)


def _listed(folder: Path, split: str) -> list[Path]:
    kinds: defaultdict[str, list[Path]] = defaultdict(list)
    for path in sorted(folder.glob("um*_*.png")) + sorted(folder.glob("uu_*.png")):
        kinds[path.name.partition("_")[0]].append(path)
    held_out = {path for paths in kinds.values() for path in paths[-(len(paths) // 5) or len(paths) :]}
    every = [path for paths in kinds.values() for path in paths]
    chosen = {"train": set(every) - held_out, "val": held_out, "trainval": set(every)}[split]
    if not chosen:
        raise InvalidDataset(f"{folder} holds no image um_*.png, umm_*.png or uu_*.png for list {split!r}")
    return [path for path in every if path in chosen]


def _mask_name(path: Path) -> str:
    kind, _, number = path.name.partition("_")
    return f"{kind}_road_{number}"


def _read(path: Path) -> Target:
    pixels = read_pixels(path, modes=("RGB",))
    target = np.full(pixels.shape[:2], IGNORE_INDEX - 1, np.uint8)
    for color, value in COLORS.items():
        target[(pixels == color).all(axis=2)] = value
    if (target == IGNORE_INDEX - 1).any():
        color = tuple(pixels[target == IGNORE_INDEX - 1][0].tolist())
        raise InvalidDataset(f"{path} has colour {color}; road is magenta, the rest red, void black")
    return target
