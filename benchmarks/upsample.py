"""Time how the mask is found from a network's scores, beside the plain way in two steps, and count differing pixels.

Run from the repository's root: ``python benchmarks/upsample.py ../shared/data/voc``. Scores are those that the shipped
network gives for photos of VOC's val list, resized to 512x512: ``[21, 128, 128]``. The plain way is
``F.interpolate`` to full size, then ``argmax``, on contiguous logits. *Sparse* is what serves plain masks, *dense* what
takes over where classes are ragged. All take turns, image by image.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from statistics import median

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from model_zoo import checkpoint
from model_zoo.predict import network_batch
from model_zoo.preprocess import network_input
from model_zoo.sparse_argmax import Step
from model_zoo.upsample import segmented, upsample_argmax
from service.settings import SHIPPED_CHECKPOINTS, SHIPPED_DEFAULT
from training.datasets import open_dataset

SIDE = 512
ROUNDS = 5


@torch.inference_mode()
def main(words: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", help="folder of VOCdevkit")
    parser.add_argument("--images", type=int, default=12, help="(%(default)s)")
    options = parser.parse_args(words)
    scores = list(scores_of(options.root, options.images))
    print(
        "| threads | two steps, ms | sparse, ms | two steps / sparse | dense, ms | two steps / dense | other pixels |"
    )
    print("|---|---|---|---|---|---|---|")
    for threads in range(1, len(os.sched_getaffinity(0)) + 1):
        torch.set_num_threads(threads)
        print(line(threads, scores), flush=True)
    return 0


def scores_of(root: str, num_images: int) -> list[Tensor]:
    """Give the coarse scores ``[C, h, w]`` of some photos."""
    loaded = checkpoint.load(SHIPPED_CHECKPOINTS / f"{SHIPPED_DEFAULT}.safetensors")
    photos = open_dataset(f"voc:val:{root}")
    found = []
    for index in range(num_images):
        photo = photos[index].image.resize((SIDE, SIDE), Image.Resampling.BILINEAR)
        images = network_batch(loaded.network, [network_input(photo, loaded.header.spec)], loaded.header.spec)
        found.append(loaded.network(images).scores[0].contiguous())
    return found


def line(threads: int, scores: Sequence[Tensor]) -> str:
    """Time all three ways for each image, and give a row of the table."""
    plain, sparse, dense = [], [], []
    num_other = 0
    for one in scores:
        expected, seconds = best(partial(two_steps, one))
        plain.append(seconds)
        found, seconds = best(partial(sparse_mask, one))
        sparse.append(seconds)
        num_other += int((found != expected).sum())
        found, seconds = best(partial(dense_mask, one))
        dense.append(seconds)
        num_other += int((found != expected).sum())
    cells = [f"{threads}", ms(plain), ms(sparse), ratio(plain, sparse), ms(dense), ratio(plain, dense), f"{num_other}"]
    return f"| {' | '.join(cells)} |"


def two_steps(scores: Tensor) -> Tensor:
    """Give the mask ``[H, W]``, int64, the plain way."""
    return F.interpolate(scores[None], (SIDE, SIDE), mode="bilinear", align_corners=False).argmax(1)[0]


def sparse_mask(scores: Tensor) -> Tensor:
    """Give the mask ``[H, W]``, uint8, as it is served."""
    return segmented(scores, [Step((SIDE, SIDE), (SIDE, SIDE))]).mask


def dense_mask(scores: Tensor) -> Tensor:
    """Give the mask ``[H, W]``, uint8, as it is served where classes are ragged."""
    return upsample_argmax(scores, (SIDE, SIDE)).mask


def best(work: Callable[[], Tensor]) -> tuple[Tensor, float]:
    """Give a result and the least time of a few runs, in seconds."""
    seconds = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        result = work()
        seconds.append(time.perf_counter() - started)
    return result, min(seconds)


def ms(seconds: Sequence[float]) -> str:
    """Give the median, and the lowest and highest, of images."""
    values = [1000 * value for value in seconds]
    return f"{median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def ratio(plain: Sequence[float], own: Sequence[float]) -> str:
    """Give the median, and the lowest and highest, of images' ratios."""
    values = [one / other for one, other in zip(plain, own, strict=True)]
    return f"{median(values):.1f} ({min(values):.1f} to {max(values):.1f})"


if __name__ == "__main__":
    sys.exit(main())
