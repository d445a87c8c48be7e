"""Score U-Net on held-out slices of ISBI 2012, whole and in mirrored tiles, and draw one of them.

Run: ``python benchmarks/isbi.py CHECKPOINT DATA [--picture docs/images/isbi.png]``. For every slice: IoU of membrane
and cell, the foreground-restricted Rand score of the mask, and by how much the logits of tiles differ from those of the
whole slice; then the same over all slices, and the Rand score at every threshold: the challenge took the best of them.

Letters: H and W height and width.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch import Tensor, nn

from model_zoo import checkpoint
from model_zoo.spec import ModelSpec
from training.datasets import Sample, open_dataset
from training.evaluation.inference import Inference, infer
from training.evaluation.metrics import ConfusionMatrix
from training.evaluation.rand_index import RandScore, rand_score

CELL = 1
TILE = 256
MARGIN = 96
THRESHOLDS = tuple(tenths / 10 for tenths in range(1, 10))
GAP = 8
WHITE = 1e-5
"""The difference of logits that is drawn white."""
SHOWN_WIDTH = 1200
TILE_COLOR = (255, 80, 0)


@dataclass(frozen=True, slots=True)
class Finding:
    """Hold what was found in a slice, by pixel: how probable cell is, and how far logits of tiles are from the whole's.

    ``seams`` is the same without a margin around the tiles.
    """

    sample: Sample
    cell: NDArray[np.float32]
    difference: NDArray[np.float32]
    seams: NDArray[np.float32]
    matrix: ConfusionMatrix

    @property
    def inside(self) -> NDArray[np.bool_]:
        """Give where cells are, ``[H, W]``."""
        inside: NDArray[np.bool_] = self.sample.target == CELL
        return inside

    def rand(self, threshold: float = 0.5) -> RandScore:
        """Score the cells of at least this probability."""
        return rand_score(self.inside, self.cell > threshold)


def main() -> None:
    """Print the scores and draw the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--picture", type=Path)
    options = parser.parse_args()
    loaded = checkpoint.load(options.checkpoint)
    dataset = open_dataset(f"isbi2012:val:{options.data}")
    spec = loaded.header.spec
    findings = [find(loaded.network, spec, dataset[index]) for index in range(len(dataset))]
    total = ConfusionMatrix(spec.num_classes)
    print("slice  IoU membrane  IoU cell  Rand  (merge, split)  largest difference of tiles")
    for finding in findings:
        total.add(finding.matrix)
        print(f"{finding.sample.id:>5}  {line(finding.matrix, [finding.rand()])}  {finding.difference.max():.1e}")
    largest = max(finding.difference.max() for finding in findings)
    without = max(finding.seams.max() for finding in findings)
    print(f"  all  {line(total, [finding.rand() for finding in findings])}  {largest:.1e}")
    print(f"largest difference of tiles without a margin {without:.2f}")
    print(f"pixel accuracy {total.pixel_accuracy:.4f}, mIoU {total.mean_iou:.4f}")
    for threshold in THRESHOLDS:
        print(f"cell above {threshold}: Rand {mean_of(findings, threshold):.4f}")
    if options.picture:
        draw(findings[0]).save(options.picture, optimize=True)


@torch.inference_mode()
def find(network: nn.Module, spec: ModelSpec, sample: Sample) -> Finding:
    """Segment a slice as a whole and in tiles, and compare."""
    whole = infer(network, sample.image, spec, Inference())
    tiled = infer(network, sample.image, spec, Inference(tile=TILE, margin=MARGIN))
    bare = infer(network, sample.image, spec, Inference(tile=TILE, margin=0))
    matrix = ConfusionMatrix(spec.num_classes)
    matrix.update(torch.from_numpy(sample.target), tiled.argmax(0))
    return Finding(sample, tiled.softmax(0)[CELL].numpy(), _largest(tiled - whole), _largest(bare - whole), matrix)


def line(matrix: ConfusionMatrix, scores: list[RandScore]) -> str:
    """Say the scores in a line; of several Rand scores the means."""
    both, merge, split = (
        float(np.mean([getattr(score, name) for score in scores])) for name in ("both", "merge", "split")
    )
    membrane, cell = matrix.iou.tolist()
    return f"{membrane:>12.4f}  {cell:>8.4f}  {both:.4f} ({merge:.4f}, {split:.4f})"


def mean_of(findings: list[Finding], threshold: float) -> float:
    """Give the mean Rand score of all slices at a threshold."""
    return float(np.mean([finding.rand(threshold).both for finding in findings]))


def draw(finding: Finding) -> Image.Image:
    """Put the slice, its truth and the probability above the mask and the differences, with margin and without."""
    panels = [
        Image.fromarray(pixels.astype(np.uint8)).convert("RGB")
        for pixels in (
            np.array(finding.sample.image.convert("L")),
            255 * finding.inside,
            255 * finding.cell,
            255 * (finding.cell > 0.5),
            255 * np.clip(finding.difference / WHITE, 0, 1),
            255 * np.clip(finding.seams / WHITE, 0, 1),
        )
    ]
    width, height = panels[0].size
    sheet = Image.new("RGB", (3 * width + 2 * GAP, 2 * height + GAP), "white")
    for number, panel in enumerate(panels):
        row, column = divmod(number, 3)
        if row:
            draw_tiles(panel)
        sheet.paste(panel, (column * (width + GAP), row * (height + GAP)))
    return sheet.resize((SHOWN_WIDTH, SHOWN_WIDTH * sheet.height // sheet.width), Image.Resampling.LANCZOS).quantize(64)


def draw_tiles(picture: Image.Image) -> None:
    """Draw where tiles touch."""
    pen = ImageDraw.Draw(picture)
    for place in range(TILE, max(picture.size), TILE):
        pen.line([(place, 0), (place, picture.height)], fill=TILE_COLOR)
        pen.line([(0, place), (picture.width, place)], fill=TILE_COLOR)


def _largest(difference: Tensor) -> NDArray[np.float32]:
    """Give the largest absolute value over the classes, ``[H, W]``."""
    largest: NDArray[np.float32] = difference.abs().amax(0).numpy()
    return largest


if __name__ == "__main__":
    main()
