"""List the datasets, open one by its reference, and check that training and validation do not share an image."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from training.datasets.camvid import CamVid
from training.datasets.coco import coco, coco_voc
from training.datasets.coco_panoptic import CocoPanoptic
from training.datasets.folder import Folder
from training.datasets.isbi2012 import ISBI2012
from training.datasets.kitti_road import KittiRoad
from training.datasets.pet import Pet
from training.datasets.sample import LabelSpace, Sample, SegmentationDataset
from training.datasets.sbd import SBD
from training.datasets.shapes import Shapes
from training.datasets.shapes9 import Shapes9
from training.datasets.voc import VOC
from training.errors import InvalidDataset, LeakingDataset

__all__ = ["DATASETS", "LabelSpace", "Reference", "Sample", "SegmentationDataset", "check_leaks", "open_dataset"]

DATASETS: Mapping[str, Callable[[Path, str], SegmentationDataset]] = {
    "voc": VOC,
    "sbd": SBD,
    "coco": coco,
    "coco-voc": coco_voc,
    "coco-panoptic": CocoPanoptic,
    "camvid": CamVid,
    "kitti-road": KittiRoad,
    "pet": Pet,
    "isbi2012": ISBI2012,
    "folder": Folder,
    "shapes": Shapes,
    "shapes9": Shapes9,
}
"""The reader of each dataset: ``reader(root, split)``."""


class Reference(NamedTuple):
    """Say which list of which dataset, and where it lies: ``voc:train:PATH`` in a recipe or on the command line."""

    reader: str
    split: str
    root: Path

    @classmethod
    def parse(cls, text: str) -> Reference:
        """Take a reference apart; without a path it is the current folder.

        Raises:
            InvalidDataset: it is not of this form, or no such dataset is known.
        """
        reader, _, rest = text.partition(":")
        split, _, root = rest.partition(":")
        if reader not in DATASETS:
            raise InvalidDataset(f"{text!r}: unknown dataset {reader!r}, known are {', '.join(DATASETS)}")
        if not split:
            raise InvalidDataset(f"{text!r} names no list; write {reader}:train:PATH")
        return cls(reader, split, Path(root))

    @property
    def name(self) -> str:
        """Name the set: the last folder of its path, or the reader where there is no folder."""
        return self.root.resolve().name if self.root != Path() and self.root.is_dir() else self.reader


def open_dataset(reference: str) -> SegmentationDataset:
    """Open the dataset that a reference such as ``voc:train:PATH`` names.

    Raises:
        InvalidDataset: the reference cannot be read, or what it names is missing.
    """
    reader, split, root = Reference.parse(reference)
    return DATASETS[reader](root, split)


def check_leaks(train: Sequence[SegmentationDataset], val: SegmentationDataset) -> None:
    """Refuse a validation image that is also trained on, under the same id or with the same bytes.

    Raises:
        LeakingDataset: there is one; the message names it.
    """
    val_ids = set(val.ids)
    val_hashes = {val.image_sha256(index): sample_id for index, sample_id in enumerate(val.ids)}
    for dataset in train:
        if shared := sorted(val_ids.intersection(dataset.ids)):
            raise LeakingDataset(f"{shared[0]} is in training and in validation ({len(shared)} shared ids)")
        for index, sample_id in enumerate(dataset.ids):
            if twin := val_hashes.get(dataset.image_sha256(index)):
                raise LeakingDataset(f"training image {sample_id} is the same file as validation image {twin}")
