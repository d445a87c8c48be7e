"""Make the README's picture: a photo, its mask and the two laid over each other, side by side.

Run: ``python examples/picture.py examples/cat.jpg docs/images/example.png`` (after ``make serve`` or ``make train``).
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from PIL import Image

from service.__main__ import main as segserve

GAP = 8


def main(photo: Path, picture: Path) -> None:
    """Have ``segserve predict`` write the files, and put them together."""
    with tempfile.TemporaryDirectory() as folder:
        if segserve(["predict", str(photo), "--out", folder]):
            sys.exit(1)
        files = [photo, *(Path(folder) / f"{photo.stem}_{kind}.png" for kind in ("mask", "overlay"))]
        parts = [Image.open(file).convert("RGB") for file in files]
    width, height = parts[0].size
    strip = Image.new("RGB", (3 * width + 2 * GAP, height), "white")
    for position, part in enumerate(parts):
        strip.paste(part, (position * (width + GAP), 0))
    picture.parent.mkdir(parents=True, exist_ok=True)
    strip.save(picture, optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
