"""Read the panoptic masks of MS-COCO as 133 classes: 80 of things, 53 of stuff.

Kirillov et al. 2018, "Panoptic Segmentation", https://arxiv.org/abs/1801.00868. A mask is an RGB PNG whose pixels are
the ids of segments, R + 256 G + 65536 B; the annotations say of which category a segment is. 0 is unlabelled, so void.

The rule ``crowd`` is that of the instances: ``ignore`` (void) or ``class``.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import BaseModel, TypeAdapter, ValidationError

from model_zoo.labels import COCO_PANOPTIC_CLASSES, COCO_PANOPTIC_CONTIGUOUS, IGNORE_INDEX, voc_palette
from training.complaints import first_complaint
from training.datasets.coco import coco_list, read_annotations, read_images, read_rules
from training.datasets.files import check_folder, read_pixels
from training.datasets.pairs import ImagePairs, Pair
from training.datasets.sample import LabelSpace, Target
from training.errors import InvalidDataset

PANOPTIC_LABELS = LabelSpace("coco-panoptic", COCO_PANOPTIC_CLASSES, voc_palette(1 + len(COCO_PANOPTIC_CLASSES))[1:])


class Segment(BaseModel):
    """Hold one segment of a mask."""

    id: int
    category_id: int
    iscrowd: Literal[0, 1] = 0


class Annotation(BaseModel):
    """Hold the segments of an image."""

    image_id: int
    file_name: str
    segments_info: list[Segment]


class CocoPanoptic(ImagePairs):
    """Give the images of a list that have a panoptic mask."""

    def __init__(self, root: Path, split: str) -> None:
        """Read the annotations and check that every image and mask is there.

        Args:
            root: the folder with ``annotations`` and ``train2017``, ``val2017``.
            split: the list, such as ``train2017`` (or ``train``), and ``,crowd=class`` behind it if wanted.

        Raises:
            InvalidDataset: a rule is unknown, or a folder, the annotations or a file is missing or unusable.
        """
        name, rules = read_rules(split, ("crowd",))
        name = coco_list(root, name, "panoptic")
        path = root / "annotations" / f"panoptic_{name}.json"
        content = read_annotations(path)
        files = {image.id: image.file_name for image in read_images(content, path)}
        annotations = _annotations(content["annotations"], path)
        images, masks = check_folder(root / name), check_folder(path.with_suffix(""))
        try:
            pairs = [
                Pair(Path(entry.file_name).stem, images / files[entry.image_id], masks / entry.file_name)
                for entry in annotations
            ]
        except KeyError as error:
            raise InvalidDataset(f"{path}: an annotation is of image {error.args[0]}, which is not listed") from error
        tables = {entry.file_name: _classes(entry, path, crowd=rules["crowd"]) for entry in annotations}
        super().__init__(PANOPTIC_LABELS, pairs, partial(_read_target, tables), rules=rules)


def _annotations(entries: object, path: Path) -> list[Annotation]:
    try:
        return TypeAdapter(list[Annotation]).validate_python(entries)
    except ValidationError as error:
        raise InvalidDataset(f"{path}: annotations: {first_complaint(error)}") from error


def _classes(annotation: Annotation, path: Path, *, crowd: str) -> Mapping[int, int]:
    """Give the class of every id that the mask may hold."""
    classes = {0: IGNORE_INDEX}
    for segment in annotation.segments_info:
        if segment.category_id not in COCO_PANOPTIC_CONTIGUOUS:
            raise InvalidDataset(f"{path}: segment {segment.id} has category {segment.category_id}, unknown to COCO")
        is_void = segment.iscrowd and crowd == "ignore"
        classes[segment.id] = IGNORE_INDEX if is_void else COCO_PANOPTIC_CONTIGUOUS[segment.category_id]
    return classes


def _read_target(tables: Mapping[str, Mapping[int, int]], path: Path) -> Target:
    red, green, blue = np.moveaxis(read_pixels(path, modes=("RGB",)).astype(np.int64), 2, 0)
    ids, places = np.unique(red + 256 * green + 65536 * blue, return_inverse=True)
    classes = tables[path.name]
    unknown = [value for value in ids.tolist() if value not in classes]
    if unknown:
        raise InvalidDataset(f"{path} has segment {unknown[0]}, which the annotations do not name")
    return np.array([classes[value] for value in ids.tolist()], np.uint8)[places].reshape(red.shape)
