"""Make the README's picture: photos, their masks and the two laid over each other, a row a photo.

Run: ``python examples/picture.py docs/images/example.png examples/*.jpg``.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from service.__main__ import main as segserve

WIDTH = 360
GAP = 6


def main(picture: Path, photos: Sequence[Path]) -> None:
    """Have ``segserve predict`` write the files, and put them together."""
    with tempfile.TemporaryDirectory() as folder:
        if segserve(["predict", *map(str, photos), "--out", folder]):
            sys.exit(1)
        rows = [
            [
                small(file)
                for file in (photo, *(Path(folder, f"{photo.stem}_{kind}.png") for kind in ("mask", "overlay")))
            ]
            for photo in photos
        ]
    height = sum(row[0].height + GAP for row in rows) - GAP
    sheet = Image.new("RGB", (3 * WIDTH + 2 * GAP, height), "white")
    top = 0
    for row in rows:
        for column, part in enumerate(row):
            sheet.paste(part, (column * (WIDTH + GAP), top))
        top += row[0].height + GAP
    picture.parent.mkdir(parents=True, exist_ok=True)
    sheet.quantize(256).save(picture, optimize=True)


def small(file: Path) -> Image.Image:
    """Read a picture and bring it to the width of a column."""
    image = Image.open(file).convert("RGB")
    return image.resize((WIDTH, round(image.height * WIDTH / image.width)), Image.Resampling.LANCZOS)


if __name__ == "__main__":
    main(Path(sys.argv[1]), [Path(word) for word in sys.argv[2:]])
