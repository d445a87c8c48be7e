"""Score the masks that a running service answers, as ``segtrain evaluate`` scores a checkpoint.

Run: ``python benchmarks/score_service.py URL VOC_FOLDER [--list val]``. Every image is posted as the file it is, the
PNG answer is compared with the target at the image's own resolution, and for the first images the run lengths are
decoded by pycocotools and compared with the PNG pixel by pixel.
"""

from __future__ import annotations

import argparse
import json
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import httpx
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from pycocotools import mask as coco

from training.datasets.voc import VOC
from training.evaluation.metrics import ConfusionMatrix

RLE_IMAGES = 20


def main() -> None:
    """Print mIoU and how many run-length answers equal the PNG answer."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--list", default="val")
    options = parser.parse_args()
    dataset = VOC(options.folder, options.list)
    matrix = ConfusionMatrix(len(dataset.labels.classes))
    pictures = [next(options.folder.rglob(f"JPEGImages/{sample_id}.jpg")) for sample_id in dataset.ids]
    with ThreadPoolExecutor(4) as pool:
        masks = pool.map(lambda path: png_mask(options.url, path), pictures)
        for index, mask in enumerate(masks):
            matrix.update(torch.from_numpy(dataset[index].target), torch.from_numpy(mask))
    equal = sum(
        np.array_equal(rle_mask(options.url, path), png_mask(options.url, path)) for path in pictures[:RLE_IMAGES]
    )
    print(f"mIoU {matrix.mean_iou:.4f} over {len(dataset)} images, by HTTP")
    print(f"{equal} of {min(RLE_IMAGES, len(pictures))} run-length answers equal the PNG answer")


def png_mask(url: str, path: Path) -> NDArray[np.uint8]:
    """Post an image and give its mask ``[H, W]``."""
    return np.array(Image.open(BytesIO(post(f"{url}/segment", path))))


def rle_mask(url: str, path: Path) -> NDArray[np.uint8]:
    """Post an image and put its mask ``[H, W]`` together from run lengths."""
    answer = json.loads(post(f"{url}/segment?format=rle", path))
    mask = np.full(answer["size"], 255, np.uint8)
    for segment in answer["segments"]:
        mask[coco.decode(segment["rle"]) == 1] = segment["class_id"]
    return mask


def post(url: str, path: Path) -> bytes:
    """Send a file as the body and give the answer's."""
    answer = httpx.post(url, content=path.read_bytes(), headers={"Content-Type": "image/jpeg"}, timeout=60)
    return answer.raise_for_status().content


if __name__ == "__main__":
    main()
