"""Hold the work that all peers do against the project's own way of the same image."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from benchmarks.peers import Task
from benchmarks.peers.work import Work, load, png_bytes
from model_zoo import checkpoint
from model_zoo.architectures import build
from model_zoo.card import Card, Training
from model_zoo.labels import VOC_CLASSES
from model_zoo.predict import predict
from model_zoo.preprocess import network_input, upright_rgb
from model_zoo.segmentation import PLAIN
from model_zoo.spec import ModelSpec, SizeRule
from service.runtimes.null import NullRuntime

SPEC = ModelSpec(
    architecture="unet",
    arguments={"base_channels": 4},
    classes=("ground", "square", "circle"),
    palette=((0, 0, 0), (255, 0, 0), (0, 0, 255)),
    size=SizeRule(side=64),
)
SIZES = [(50, 40), (64, 64), (200, 90), (50, 40), (31, 120)]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    file = tmp_path_factory.mktemp("network") / "tiny.safetensors"
    network = build(SPEC.architecture, SPEC.num_classes, SPEC.arguments)
    checkpoint.save(file, network, Card(name="tiny", spec=SPEC, metrics=(), training=Training(seed=0, recipe={})))
    return file


@pytest.fixture(scope="module")
def work(path: Path) -> Work:
    return load(Task(path))


def noise_jpeg(size: tuple[int, int]) -> bytes:
    generator = np.random.default_rng(size)
    coarse = Image.fromarray(generator.integers(0, 256, (6, 6, 3), np.uint8)).resize(size)
    output = BytesIO()
    coarse.save(output, "JPEG")
    return output.getvalue()


def mask_of(png: bytes) -> NDArray[np.uint8]:
    return np.asarray(Image.open(BytesIO(png)))


def own_mask(path: Path, jpeg: bytes) -> NDArray[np.uint8]:
    model = checkpoint.load(path)
    item = network_input(upright_rgb(Image.open(BytesIO(jpeg))), model.header.spec)
    mask: NDArray[np.uint8] = predict(model.network, [item], model.header.spec)[0].mask.numpy()
    return mask


@pytest.mark.parametrize("size", sorted(set(SIZES)))
def test_masks_are_those_of_the_project(path: Path, work: Work, size: tuple[int, int]) -> None:
    jpeg = noise_jpeg(size)

    mask, wanted = mask_of(work([jpeg])[0]), own_mask(path, jpeg)

    assert mask.shape == wanted.shape == size[::-1]
    assert len(np.unique(wanted)) > 1
    assert (mask == wanted).mean() >= 0.999


def test_a_batch_of_mixed_sizes_is_answered_in_its_order(work: Work) -> None:
    jpegs = [noise_jpeg(size) for size in SIZES]

    together = [mask_of(png) for png in work(jpegs)]

    assert [mask.shape for mask in together] == [size[::-1] for size in SIZES]
    alone = [mask_of(work([jpeg])[0]) for jpeg in jpegs]
    assert all((one == other).mean() >= 0.999 for one, other in zip(together, alone, strict=True))


def test_the_empty_network_answers_what_the_null_runtime_does() -> None:
    jpegs = [noise_jpeg((40, 48)), noise_jpeg((64, 32))]

    found = [mask_of(png) for png in load(Task())(jpegs)]

    runtime = NullRuntime(len(VOC_CLASSES), batch_seconds=0, fail_color=None)
    items = [network_input(upright_rgb(Image.open(BytesIO(jpeg))), SPEC) for jpeg in jpegs]
    expected = [runtime([item], [PLAIN])[0].mask.numpy() for item in items]
    assert all(np.array_equal(*pair) for pair in zip(found, expected, strict=True))


def test_a_mask_is_written_with_its_palette() -> None:
    mask = np.arange(6, dtype=np.uint8).reshape(2, 3) % 3

    with Image.open(BytesIO(png_bytes(mask, SPEC.palette))) as image:
        assert image.mode == "P"
        assert image.convert("RGB").getpixel((1, 0)) == SPEC.palette[1]


def test_a_missing_network_is_told() -> None:
    with pytest.raises(checkpoint.BadCheckpoint, match="missing"):
        load(Task(Path("missing.safetensors")))
