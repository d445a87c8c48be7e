"""Draw what a checkpoint makes of twelve images of a dataset, for its card: photo, truth and answer side by side.

The images are spread evenly over the list, and not chosen by hand.
Run: ``python -m benchmarks.card_picture CHECKPOINT voc:val:PATH docs/images/NAME.jpg``.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

from PIL import Image, ImageOps

from model_zoo.checkpoint import verify
from model_zoo.predict import predict
from model_zoo.preprocess import network_input
from training.contact_sheet import blend
from training.datasets import open_dataset

NUM_IMAGES, COLUMNS = 12, 2
CELL = (170, 128)
GAP, SPACE = 2, 10


def main(path: Path, reference: str, out: Path) -> None:
    """Draw the picture."""
    loaded, dataset = verify(path), open_dataset(reference)
    spec = loaded.header.spec
    rows = -(-NUM_IMAGES // COLUMNS)
    wide = 3 * CELL[0] + 2 * GAP
    sheet = Image.new("RGB", (COLUMNS * (wide + SPACE) - SPACE, rows * (CELL[1] + SPACE) - SPACE), "white")
    for place in range(NUM_IMAGES):
        sample = dataset[place * len(dataset) // NUM_IMAGES]
        answer = predict(loaded.network, [network_input(sample.image, spec)], spec)[0].mask.numpy()
        answered = replace(sample, target=answer)
        left, top = place % COLUMNS * (wide + SPACE), place // COLUMNS * (CELL[1] + SPACE)
        for part in (sample.image, blend(sample, dataset.labels), blend(answered, dataset.labels)):
            cell = ImageOps.pad(part.convert("RGB"), CELL, color="white")
            sheet.paste(cell, (left, top))
            left += CELL[0] + GAP
    sheet.save(out, quality=85, optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
