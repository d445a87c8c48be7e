"""Read images, masks and lists from files; every error is one line that names file and value."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from model_zoo.labels import IGNORE_INDEX
from model_zoo.preprocess import UnsupportedMode, upright_rgb
from training.datasets.sample import Target
from training.errors import InvalidDataset

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
UNREADABLE = (OSError, EOFError, UnidentifiedImageError, SyntaxError, ValueError)
"""What Pillow raises for files that it cannot decode."""


@contextmanager
def open_picture(path: Path, complaint: str) -> Iterator[Image.Image]:
    """Open a picture while it is read; one that Pillow finds large, but not too large, is read without a warning.

    Raises:
        InvalidDataset: it cannot be read, which ``complaint`` says, or its pixels are too many or no colours.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path) as picture:
                yield picture
    except Image.DecompressionBombError as error:
        size_and_limit = str(error).partition(",")[0]
        raise InvalidDataset(f"{complaint}: {size_and_limit}") from error
    except UnsupportedMode as error:
        raise InvalidDataset(f"{path}: {error}") from error
    except UNREADABLE as error:
        raise InvalidDataset(complaint) from error


def read_image(path: Path) -> Image.Image:
    """Read an image as people see it: upright, 8-bit RGB.

    Raises:
        InvalidDataset: it cannot be read, or its pixels are no colours.
    """
    with open_picture(path, f"{path} cannot be read as an image") as image:
        image.load()
        return upright_rgb(image)


def read_pixels(path: Path, *, modes: tuple[str, ...]) -> Target:
    """Read the stored values of a mask, ``[H, W]``, or ``[H, W, 3]`` of an RGB one; colours are never looked at.

    Raises:
        InvalidDataset: it cannot be read, or is stored in none of these modes.
    """
    with open_picture(path, f"{path} cannot be read as a mask") as mask:
        mode = mask.mode
        pixels = np.array(mask)
    if mode not in modes:
        allowed = " or ".join(modes)
        raise InvalidDataset(f"{path} has mode {mode}; a mask here must have mode {allowed}, its values the classes")
    return pixels


def check_classes(target: Target, num_classes: int, source: object) -> Target:
    """Give the target back if it holds only classes below ``num_classes`` and void.

    Raises:
        InvalidDataset: it holds another value, which the message names with its source.
    """
    found = np.flatnonzero(np.bincount(target.ravel(), minlength=256))
    unknown = [value for value in found.tolist() if value >= num_classes and value != IGNORE_INDEX]
    if unknown:
        last = num_classes - 1
        raise InvalidDataset(f"{source} has class {unknown[0]}; classes are 0 to {last} and {IGNORE_INDEX} for void")
    return target


def check_folder(path: Path) -> Path:
    """Give the folder back if it is one.

    Raises:
        InvalidDataset: it is missing.
    """
    if not path.is_dir():
        raise InvalidDataset(f"{path}: no such folder")
    return path


def read_list(path: Path) -> tuple[str, ...]:
    """Read the image names of a list, the first word of every line.

    Raises:
        InvalidDataset: it is no text, or names no image, or one twice.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise InvalidDataset(f"{path} is not a list of image names, one a line, in UTF-8") from error
    ids = tuple(line.split()[0] for line in lines if line.strip())
    if not ids:
        raise InvalidDataset(f"{path} names no image")
    if twice := first_repeated(ids):
        raise InvalidDataset(f"{path} names {twice} twice")
    return ids


def first_repeated(ids: Iterable[str]) -> str | None:
    """Give the first id that came before, if there is one."""
    seen: set[str] = set()
    for sample_id in ids:
        if sample_id in seen:
            return sample_id
        seen.add(sample_id)
    return None
