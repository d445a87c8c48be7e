"""Lay out pictures to train on in VOC's layout: links to some of a data set, or made ones where there is none."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from model_zoo.labels import IGNORE_INDEX, VOC_CLASSES
from training.datasets import Reference
from training.datasets.voc import voc_folder, voc_ids

KINDS = {"JPEGImages": ".jpg", "SegmentationClass": ".png"}
MADE_SIZE = (500, 375)


def lay_out(folder: Path, data: str, num_images: int) -> str:
    """Put images to train on, and one to validate on, into a folder in VOC's layout, and say where they are from."""
    for name in KINDS:
        (folder / name).mkdir()
    reader, split, root = Reference.parse(data)
    if reader != "voc":
        raise SystemExit(f"--data {data}: both loops read VOC's layout, as in voc:train:PATH")
    ids = link(folder, voc_folder(root), split, num_images + 1) if root.exists() else make(folder, num_images + 1)
    (folder / "train.txt").write_text("\n".join(ids[1:]))
    (folder / "val.txt").write_text(ids[0])
    return data if root.exists() else f"noise, for there is no {root}"


def link(folder: Path, source: Path, split: str, count: int) -> Sequence[str]:
    """Link images and masks spread evenly over a list, and give their ids."""
    known = voc_ids(source, split)
    if len(known) < count:
        raise SystemExit(f"{source} lists {len(known)} images in {split}, {count} are needed: give fewer --images")
    ids = [known[number * len(known) // count] for number in range(count)]
    for name, suffix in KINDS.items():
        for one in ids:
            (folder / name / f"{one}{suffix}").symlink_to((source / name / f"{one}{suffix}").resolve())
    return ids


def make(folder: Path, count: int) -> Sequence[str]:
    """Make smooth, slightly noisy JPEGs of about 64 kB, and masks of patches with void between some of them."""
    draw = np.random.default_rng(0)
    ids = [f"{number:06}" for number in range(count)]
    for one in ids:
        rough = Image.fromarray(draw.integers(0, 256, (24, 32, 3), np.uint8)).resize(
            MADE_SIZE, Image.Resampling.BICUBIC
        )
        pixels = np.asarray(rough) + draw.normal(0, 12, (MADE_SIZE[1], MADE_SIZE[0], 3))
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / "JPEGImages" / f"{one}.jpg", quality=85)
        classes = draw.choice([*range(len(VOC_CLASSES)), IGNORE_INDEX], (6, 8)).astype(np.uint8)
        mask = Image.fromarray(classes).resize(MADE_SIZE, Image.Resampling.NEAREST)
        mask.putpalette(bytes(3 * 256))
        mask.save(folder / "SegmentationClass" / f"{one}.png")
    return ids
