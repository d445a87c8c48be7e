"""Read answers with the programs that they are made for, and put the mask together again.

A reader asks a service at a URL for the mask of a picture, ``[H, W]`` uint8, and says nothing of how it was written.
"""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Iterable, Sequence
from contextlib import redirect_stdout
from io import BytesIO, StringIO
from pathlib import Path

import httpx
import numpy as np
import shapely
from cvat_sdk import masks as cvat
from huggingface_hub import InferenceClient
from label_studio_sdk.converter import brush
from numpy.typing import NDArray
from PIL import Image
from pycocotools import mask as coco
from pycocotools.coco import COCO
from shapely.geometry import shape
from tritonclient import http as triton

from model_zoo.labels import VOC_CLASSES, voc_palette
from service.masks.encoder import Mask

MODEL = "deeplabv3plus-lite2-voc"
VOID = 255


def read_png(url: str, picture: Path) -> Mask:
    """Open the picture."""
    return np.asarray(opened(post(url, picture, "png")))


def read_rle(url: str, picture: Path) -> Mask:
    """Decode the run lengths of each class."""
    answer = json.loads(post(url, picture, "rle"))
    parts = ((entry["class_id"], coco.decode(entry["rle"]) == 1) for entry in answer["segments"])
    return put_together(parts, answer["size"], rest=VOID)


def read_color(url: str, picture: Path) -> Mask:
    """Find the class of each colour."""
    pixels = np.asarray(opened(post(url, picture, "color")))
    parts = ((class_id, (pixels == color).all(axis=-1)) for class_id, color in enumerate(voc_palette()))
    return put_together(parts, pixels.shape[:2], rest=VOID)


def read_overlay(url: str, picture: Path) -> NDArray[np.uint8]:
    """Open the picture, RGB ``[H, W, 3]``; there is no mask in it."""
    return np.asarray(opened(post(url, picture, "overlay")))


def read_polygons(url: str, picture: Path) -> Mask:
    """Fill the polygons of a COCO dataset."""
    dataset = COCO()
    dataset.dataset = json.loads(post(url, picture, "polygons"))
    with redirect_stdout(StringIO()):  # it talks
        dataset.createIndex()
    (image,) = dataset.loadImgs(dataset.getImgIds())
    parts = ((entry["category_id"], dataset.annToMask(entry) == 1) for entry in dataset.loadAnns(dataset.getAnnIds()))
    return put_together(parts, (image["height"], image["width"]))


def read_geojson(url: str, picture: Path) -> Mask:
    """Ask of the middle of each pixel which areas hold it."""
    rows, columns = np.indices(size_of(picture))
    features = json.loads(post(url, picture, "geojson"))["features"]
    areas = ((feature["properties"]["class_id"], shape(feature["geometry"])) for feature in features)
    parts = ((class_id, shapely.contains_xy(area, columns + 0.5, rows + 0.5)) for class_id, area in areas)
    return put_together(parts, rows.shape)


def read_labelstudio(url: str, picture: Path) -> Mask:
    """Decode the brush strokes, as Label Studio's own export does."""
    regions = json.loads(post(url, picture, "labelstudio"))["result"]
    layers = brush.decode_from_annotation("tag", [{**region, **region["value"]} for region in regions])
    names = {name: name.removeprefix("tag-").rpartition("-")[0] for name in layers}
    parts = ((VOC_CLASSES.index(names[name]), layer == 255) for name, layer in layers.items())
    return put_together(parts, size_of(picture))


def read_cvat(url: str, picture: Path) -> Mask:
    """Decode the shapes."""
    answer = json.loads(post(url, picture, "cvat"))
    height, width = answer["size"]
    parts = (
        (entry["label_id"], cvat.decode_mask(entry["points"], image_width=width, image_height=height))
        for entry in answer["shapes"]
    )
    return put_together(parts, (height, width))


def read_hf(url: str, picture: Path) -> Mask:
    """Have the client ask."""
    segments = InferenceClient(f"{url}/segment?format=hf", timeout=60).image_segmentation(picture)
    parts = ((VOC_CLASSES.index(segment.label), np.asarray(segment.mask) == 255) for segment in segments)
    return put_together(parts, size_of(picture), rest=VOID)


def read_roboflow(url: str, picture: Path) -> Mask:
    """Open the picture of class ids, and go by the names that the class map has for them."""
    predictions = json.loads(post(url, picture, "roboflow"))["predictions"]
    ids = np.asarray(opened(b64decode(predictions["segmentation_mask"])))
    names = predictions["class_map"]
    parts = ((VOC_CLASSES.index(names[str(one)]), ids == one) for one in predictions["present_class_ids"])
    return put_together(parts, ids.shape, rest=VOID)


def read_counts(url: str, picture: Path) -> NDArray[np.int64]:
    """Give how many pixels each class has, ``[256]``."""
    counts = np.zeros(VOID + 1, np.int64)
    for entry in json.loads(post(url, picture, "counts"))["counts"]:
        counts[entry["class_id"]] = entry["pixels"]
    return counts


def read_npz(url: str, picture: Path) -> Mask:
    """Open the archive."""
    with np.load(BytesIO(post(url, picture, "npz")), allow_pickle=False) as archive:
        return archive["mask"]


def read_probabilities(url: str, picture: Path) -> Mask:
    """Give the most probable class of each pixel."""
    with np.load(BytesIO(post(url, picture, "npz")), allow_pickle=False) as archive:
        return archive["probabilities"].argmax(axis=0).astype(np.uint8)


def read_v2(url: str, picture: Path) -> Mask:
    """Have the client of the Open Inference Protocol ask."""
    with triton.InferenceServerClient(url.removeprefix("http://")) as client:
        image = triton.InferInput("image", [1], "BYTES")
        image.set_data_from_numpy(np.array([picture.read_bytes()], dtype=object))
        return client.infer(MODEL, [image]).as_numpy("mask")[0]


def put_together(parts: Iterable[tuple[int, NDArray[np.bool_]]], size: Sequence[int], *, rest: int = 0) -> Mask:
    """Put the pixels of classes together to a mask."""
    mask = np.full(size, rest, np.uint8)
    for class_id, is_inside in parts:
        mask[is_inside] = class_id
    return mask


def size_of(picture: Path) -> tuple[int, int]:
    """Give the height and width."""
    with Image.open(picture) as image:
        return image.height, image.width


def opened(content: bytes) -> Image.Image:
    """Open a picture."""
    return Image.open(BytesIO(content))


def post(url: str, picture: Path, name: str) -> bytes:
    """Send a JPEG as the body and give the answer's."""
    headers = {"Content-Type": "image/jpeg"}
    answer = httpx.post(f"{url}/segment?format={name}", content=picture.read_bytes(), headers=headers, timeout=60)
    return answer.raise_for_status().content
