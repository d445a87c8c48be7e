"""Give samples of image files that each have a mask of their own."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from training.datasets.files import check_classes, first_repeated, read_image
from training.datasets.sample import LabelSpace, Sample, Target
from training.errors import InvalidDataset


@dataclass(frozen=True, slots=True)
class Pair:
    """Name an image and what its target is read from."""

    id: str
    image: Path
    mask: Path


class ImagePairs:
    """Give a sample for every pair, in their order; ``rules`` say by which options the targets were made."""

    def __init__(
        self,
        labels: LabelSpace,
        pairs: Sequence[Pair],
        read_target: Callable[[Path], Target],
        *,
        rules: Mapping[str, str] | None = None,
    ) -> None:
        """Check that every file is there and that no id comes twice.

        Raises:
            InvalidDataset: a file is missing, or an id comes twice.
        """
        self.labels = labels
        self.ids = tuple(pair.id for pair in pairs)
        self.rules: Mapping[str, str] = rules or {}
        self._pairs = tuple(pairs)
        self._read_target = read_target
        if twice := first_repeated(self.ids):
            raise InvalidDataset(f"two images go by the id {twice}")
        for path in (path for pair in pairs for path in (pair.image, pair.mask)):
            if not path.is_file():
                raise InvalidDataset(f"{path} is missing, but its list names it")

    def __len__(self) -> int:
        """Count the samples."""
        return len(self._pairs)

    def __getitem__(self, index: int) -> Sample:
        """Read an image and its target.

        Raises:
            InvalidDataset: one of them cannot be read, the target has unknown classes, or their sizes differ.
        """
        pair = self._pairs[index]
        image = read_image(pair.image)
        target = check_classes(self._read_target(pair.mask), len(self.labels.classes), pair.mask)
        return checked_sample(pair.id, image, target, source=pair.image)

    def image_sha256(self, index: int) -> str:
        """Hash the bytes of the image's file."""
        return hashlib.sha256(self._pairs[index].image.read_bytes()).hexdigest()


def checked_sample(sample_id: str, image: Image.Image, target: Target, *, source: Path) -> Sample:
    """Put image and target together.

    Raises:
        InvalidDataset: their sizes differ.
    """
    height, width = target.shape
    if image.size != (width, height):
        raise InvalidDataset(f"{source} is {image.width}x{image.height}, its mask is {width}x{height}")
    return Sample(sample_id, image, target)
