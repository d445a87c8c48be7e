"""Fetch datasets from where their authors keep them, by torchvision's readers; only ever when somebody asks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from torchvision import datasets  # type: ignore[import-untyped]  # torchvision has no stubs

from training.datasets import Reference
from training.errors import InvalidDataset


def download(reference: Reference) -> None:
    """Fetch and unpack a dataset into its folder; what is there already is checked and left.

    Raises:
        InvalidDataset: nobody here knows how to fetch it, or what came is damaged.
        OSError: the network or the disk failed.
    """
    if reference.reader not in DOWNLOADS:
        known = ", ".join(DOWNLOADS)
        raise InvalidDataset(f"{reference.reader} cannot be downloaded; of the datasets only {known} can")
    try:
        DOWNLOADS[reference.reader](reference.root)
    except RuntimeError as error:
        raise InvalidDataset(f"{reference.reader}: {error}") from error


def _voc(root: Path) -> None:
    datasets.VOCSegmentation(root, year="2012", image_set="trainval", download=True)


def _pet(root: Path) -> None:
    datasets.OxfordIIITPet(root, target_types="segmentation", download=True)


DOWNLOADS: Mapping[str, Callable[[Path], None]] = {"voc": _voc, "pet": _pet}
"""How each dataset is fetched. SBD's reader in torchvision would need SciPy, and COCO has none that downloads."""
