"""Read the instances of MS-COCO, as VOC's 21 classes or as its own 80 and background.

Lin et al. 2014, "Microsoft COCO: Common Objects in Context", https://arxiv.org/abs/1405.0312.

Instances may overlap, and a crowd is a region in which nobody told the instances apart. What becomes of both may be
said behind the list, ``coco:train2017,overlap=ignore,crowd=class:PATH``; the checkpoint records it:

    overlap  small_on_top: the smaller instance hides the larger; or ignore: what two of them share is void
    crowd    ignore: void where no instance lies on it; or class: an instance like any other

Images without an instance stay in the set: they show what background is.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as rle
from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from model_zoo.labels import COCO_CATEGORIES, COCO_CLASSES, COCO_CONTIGUOUS, COCO_TO_VOC, IGNORE_INDEX, voc_palette
from training.complaints import first_complaint
from training.datasets.files import check_folder, first_repeated, read_image
from training.datasets.pairs import checked_sample
from training.datasets.sample import LabelSpace, Sample, Target
from training.datasets.voc import VOC_LABELS
from training.errors import InvalidDataset

COCO_LABELS = LabelSpace("coco", COCO_CLASSES, voc_palette(len(COCO_CLASSES)))
RULES: Mapping[str, tuple[str, ...]] = {"overlap": ("small_on_top", "ignore"), "crowd": ("ignore", "class")}
"""The values of every rule; the first is what holds where nothing is said."""


class Rle(BaseModel):
    """Hold run lengths, column by column; ``size`` is ``[H, W]``, ``counts`` a list or COCO's string for it."""

    size: tuple[int, int]
    counts: list[Annotated[int, Field(ge=0)]] | str


class CocoImage(BaseModel):
    """Hold what the annotations say of an image."""

    id: int
    file_name: str
    height: int = Field(ge=1)
    width: int = Field(ge=1)


class Place(BaseModel):
    """Say which annotation lies in which image, and of which category it is."""

    id: int
    image_id: int
    category_id: int


class Instance(Place):
    """Hold one instance, or one crowd."""

    iscrowd: Literal[0, 1] = 0
    segmentation: list[Annotated[list[float], Field(min_length=6)]] | Rle


INSTANCES = TypeAdapter(list[Instance])


class CocoInstances:
    """Give the images of a list and targets painted from their instances."""

    def __init__(self, root: Path, split: str, labels: LabelSpace, class_of: Mapping[int, int]) -> None:
        """Read the annotations and check that every image is there.

        Args:
            root: the folder with ``annotations`` and ``train2017``, ``val2017``.
            split: the list, such as ``train2017`` (or ``train``), and rules behind it if any.
            labels: the classes.
            class_of: the class of each category; what is of another category is background.

        Raises:
            InvalidDataset: a rule is unknown, or a folder, the annotations or an image is missing or unusable.
        """
        name, self.rules = read_rules(split, tuple(RULES))
        name = coco_list(root, name, "instances")
        path = root / "annotations" / f"instances_{name}.json"
        content = read_annotations(path)
        self.labels = labels
        self._class_of = class_of
        self._folder = check_folder(root / name)
        self._images = read_images(content, path)
        self.ids = tuple(Path(image.file_name).stem for image in self._images)
        self._instances = _by_image(content, class_of, path)
        check_ids_and_files(self.ids, (self._folder / image.file_name for image in self._images))

    def __len__(self) -> int:
        """Count the samples."""
        return len(self.ids)

    def __getitem__(self, index: int) -> Sample:
        """Read an image and paint its target.

        Raises:
            InvalidDataset: the image or an instance of it cannot be read, or the image's size is not the annotated one.
        """
        image = self._images[index]
        path = self._folder / image.file_name
        try:
            instances = INSTANCES.validate_json(self._instances.get(image.id, b"[]"))
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            raise InvalidDataset(f"{path}: instance {first['loc'][0]} of its annotations: {first['msg']}") from error
        target = paint(image, instances, self._class_of, self.rules)
        return checked_sample(self.ids[index], read_image(path), target, source=path)

    def image_sha256(self, index: int) -> str:
        """Hash the bytes of the image's file."""
        return hashlib.sha256((self._folder / self._images[index].file_name).read_bytes()).hexdigest()


def coco(root: Path, split: str) -> CocoInstances:
    """Read COCO with its own classes, as ``CocoInstances`` says."""
    return CocoInstances(root, split, COCO_LABELS, COCO_CONTIGUOUS)


def coco_voc(root: Path, split: str) -> CocoInstances:
    """Read COCO with the classes of VOC, as ``CocoInstances`` says; the other 60 categories are background."""
    return CocoInstances(root, split, VOC_LABELS, COCO_TO_VOC)


def paint(
    image: CocoImage, instances: Iterable[Instance], class_of: Mapping[int, int], rules: Mapping[str, str]
) -> Target:
    """Paint the instances of an image as the rules say.

    Raises:
        InvalidDataset: the run lengths of one are not of the image's size.
    """
    target = np.zeros((image.height, image.width), np.uint8)
    covered = np.zeros((image.height, image.width), np.uint16)
    masks = [(instance, _mask(image, instance)) for instance in instances]
    if rules["crowd"] == "ignore":
        for _, mask in (entry for entry in masks if entry[0].iscrowd):
            target[mask] = IGNORE_INDEX
        masks = [entry for entry in masks if not entry[0].iscrowd]
    for instance, mask in sorted(masks, key=lambda entry: (-int(entry[1].sum()), entry[0].id)):
        target[mask] = class_of[instance.category_id]
        covered += mask
    if rules["overlap"] == "ignore":
        target[covered > 1] = IGNORE_INDEX
    return target


def read_rules(split: str, names: tuple[str, ...]) -> tuple[str, Mapping[str, str]]:
    """Take ``LIST,RULE=VALUE,...`` apart; ``names`` are the rules that the dataset has.

    Raises:
        InvalidDataset: a rule or its value is unknown.
    """
    name, *words = split.split(",")
    rules = {rule: RULES[rule][0] for rule in names}
    for word in words:
        rule, _, value = word.partition("=")
        if rule not in names:
            raise InvalidDataset(f"{split!r}: unknown rule {rule!r}, known are {', '.join(names)}")
        if value not in RULES[rule]:
            raise InvalidDataset(f"{split!r}: {rule} is {' or '.join(RULES[rule])}, not {value!r}")
        rules[rule] = value
    return name, rules


def coco_list(root: Path, name: str, kind: str) -> str:
    """Give the list's full name: ``train`` may stand for ``train2017``.

    Raises:
        InvalidDataset: there are no annotations of such a list.
    """
    folder = check_folder(check_folder(root) / "annotations")
    for candidate in (name, f"{name}2017"):
        if (folder / f"{kind}_{candidate}.json").is_file():
            return candidate
    raise InvalidDataset(f"{folder} holds no {kind}_{name}.json")


def read_annotations(path: Path) -> Mapping[str, Any]:
    """Read an annotation file.

    Raises:
        InvalidDataset: it is not JSON with images and annotations.
    """
    try:
        content = json.loads(path.read_bytes())
    except ValueError as error:
        raise InvalidDataset(f"{path} is not JSON: {error}") from error
    if not isinstance(content, dict) or not all(isinstance(content.get(k), list) for k in ("images", "annotations")):
        raise InvalidDataset(f"{path} has no lists of images and annotations")
    return content


def read_images(content: Mapping[str, Any], path: Path) -> list[CocoImage]:
    """Read what an annotation file says of its images.

    Raises:
        InvalidDataset: there are none, or one is not described as COCO does.
    """
    try:
        images = TypeAdapter(list[CocoImage]).validate_python(content["images"])
    except ValidationError as error:
        raise InvalidDataset(f"{path}: images: {first_complaint(error)}") from error
    if not images:
        raise InvalidDataset(f"{path} names no image")
    return images


def check_ids_and_files(ids: Iterable[str], paths: Iterable[Path]) -> None:
    """Check that no id comes twice and that every image is there.

    Raises:
        InvalidDataset: one does, or is not.
    """
    if twice := first_repeated(ids):
        raise InvalidDataset(f"two images go by the id {twice}")
    for path in paths:
        if not path.is_file():
            raise InvalidDataset(f"{path} is missing, but the annotations name it")


def _by_image(content: Mapping[str, Any], class_of: Mapping[int, int], path: Path) -> Mapping[int, bytes]:
    """Keep the instances of every image as JSON: the objects of the whole set would take gigabytes."""
    try:
        places = TypeAdapter(list[Place]).validate_python(content["annotations"])
    except ValidationError as error:
        raise InvalidDataset(f"{path}: annotations: {first_complaint(error)}") from error
    instances: defaultdict[int, list[Any]] = defaultdict(list)
    for place, annotation in zip(places, content["annotations"], strict=True):
        if place.category_id not in COCO_CATEGORIES:
            raise InvalidDataset(f"{path}: annotation {place.id} has category {place.category_id}, unknown to COCO")
        if place.category_id in class_of:
            instances[place.image_id].append(annotation)
    return {image_id: json.dumps(entries).encode() for image_id, entries in instances.items()}


def _mask(image: CocoImage, instance: Instance) -> NDArray[np.bool_]:
    size = (image.height, image.width)
    if isinstance(instance.segmentation, Rle):
        if instance.segmentation.size != size or not _fills(instance.segmentation):
            raise InvalidDataset(f"{image.file_name}: annotation {instance.id} has run lengths of another size")
        segmentation = instance.segmentation.model_dump(mode="json")
        runs = segmentation if isinstance(segmentation["counts"], str) else rle.frPyObjects(segmentation, *size)
    else:
        runs = rle.merge(rle.frPyObjects(instance.segmentation, *size))
    try:
        mask = np.asarray(rle.decode(runs))
    except ValueError as error:
        raise InvalidDataset(f"{image.file_name}: annotation {instance.id} has broken run lengths") from error
    if int(mask.sum()) != int(rle.area(runs)):  # what too few runs leave open holds whatever was in memory
        raise InvalidDataset(f"{image.file_name}: annotation {instance.id} has broken run lengths")
    return mask.astype(bool)


def _fills(runs: Rle) -> bool:
    return isinstance(runs.counts, str) or sum(runs.counts) == runs.size[0] * runs.size[1]
