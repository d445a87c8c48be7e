"""Make small datasets in the real layout, and one finished run that several tests look at."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from model_zoo.labels import voc_palette
from training.__main__ import main

TINY_RUN = (
    "--recipe", "quick", "--train", "shapes:train:48", "--val", "shapes:val:10", "--crop", "64", "--epochs", "6",
    "--batch-size", "8", "--lr", "0.01", "--warmup-steps", "3", "--validate-every", "4", "--workers", "0",
)  # fmt: skip
"""A run of seconds."""


@dataclass(frozen=True)
class VocTree:
    """Write images and masks as VOC lays them out."""

    root: Path

    def add(self, sample_id: str, *, seed: int = 0, classes: Sequence[int] = (0, 15, 255)) -> None:
        random = np.random.default_rng(seed)
        self.write_image(sample_id, Image.fromarray(random.integers(0, 256, (30, 40, 3), dtype=np.uint8)))
        self.write_mask(sample_id, random.choice(np.array(classes, np.uint8), (30, 40)))

    def write_image(self, sample_id: str, image: Image.Image, exif: Image.Exif | None = None) -> None:
        folder = self.root / "JPEGImages"
        folder.mkdir(parents=True, exist_ok=True)
        image.save(folder / f"{sample_id}.jpg", "JPEG", exif=exif or Image.Exif())

    def write_mask(self, sample_id: str, classes: np.ndarray, mode: str = "P") -> None:
        folder = self.root / "SegmentationClass"
        folder.mkdir(parents=True, exist_ok=True)
        mask = Image.fromarray(classes, "L")
        if mode == "P":
            mask.putpalette([value for color in voc_palette() for value in color])
        mask.convert(mode).save(folder / f"{sample_id}.png")

    def write_list(self, split: str, ids: Sequence[str], folder: str = "ImageSets/Segmentation") -> None:
        path = self.root / folder / f"{split}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"{sample_id}\n" for sample_id in ids))


@pytest.fixture
def voc_tree(tmp_path: Path) -> VocTree:
    """Give a tree with two training images and one validation image."""
    tree = VocTree(tmp_path / "pictures")
    tree.add("a", seed=1)
    tree.add("b", seed=2)
    tree.add("c", seed=3)
    tree.write_list("train", ["a", "b"])
    tree.write_list("val", ["c"])
    return tree


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the folder of a finished run."""
    out = tmp_path_factory.mktemp("runs") / "tiny"
    assert main(["fit", *TINY_RUN, "--out", str(out)]) == 0
    return out
