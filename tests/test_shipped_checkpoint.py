"""Hold the checkpoints that ship with the package against their own cards, and serving against evaluation."""

import re
import subprocess
import sys
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools import mask as coco

from model_zoo.checkpoint import Checkpoint, inspect, verify
from model_zoo.predict import predict
from model_zoo.preprocess import network_input
from service.app import create_app
from service.settings import SHIPPED_CHECKPOINTS, SHIPPED_DEFAULT, Settings
from tests.service.conftest import running, until_ready
from training.datasets.voc import VOC
from training.evaluation.evaluate import evaluate

EXAMPLES = Path(__file__).parents[1] / "examples"
FILES = sorted(SHIPPED_CHECKPOINTS.glob("*.safetensors"))
DEFAULT = SHIPPED_CHECKPOINTS / f"{SHIPPED_DEFAULT}.safetensors"
OTHERS = [file for file in FILES if file != DEFAULT]
PHOTO = ("cat.jpg", (EXAMPLES / "cat.jpg").read_bytes())
SOME_IMAGES = 20

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),  # pycocotools' own
]


def named(value: object) -> str | None:
    """Name a test's case by its file."""
    return value.stem if isinstance(value, Path) else None


@pytest.fixture(scope="module")
def shipped() -> Checkpoint:
    """Give the default."""
    return verify(DEFAULT)


@pytest.fixture(scope="module")
def val(data_root: Path) -> VOC:
    return VOC(data_root / "voc", "val")


def test_the_default_ships() -> None:
    assert DEFAULT in FILES


@pytest.mark.parametrize(
    ("file", "most_bytes"), [(DEFAULT, 20_000_000), *((file, 12_000_000) for file in OTHERS)], ids=named
)
def test_a_shipped_checkpoint_is_small(file: Path, most_bytes: int) -> None:
    assert file.stat().st_size <= most_bytes


async def test_a_request_that_names_no_model_is_answered_by_the_default() -> None:
    async with running(create_app(Settings(device="cpu"))) as client:
        await until_ready(client)
        answer = await client.post("/segment", files={"image": PHOTO})
        entries = (await client.get("/models")).json()["models"]

    assert (answer.status_code, answer.headers["x-model"]) == (200, SHIPPED_DEFAULT)
    assert sorted(entry["name"] for entry in entries) == [file.stem for file in FILES]
    assert [entry["name"] for entry in entries if entry["is_default"]] == [SHIPPED_DEFAULT]
    assert all(entry["metrics"] for entry in entries)


@pytest.mark.parametrize("file", FILES, ids=named)
async def test_a_shipped_checkpoint_answers_when_it_is_named(file: Path) -> None:
    async with running(create_app(Settings(device="cpu", loading="lazy"))) as client:
        await until_ready(client)
        answer = await client.post(f"/segment?model={file.stem}", files={"image": PHOTO})

    assert (answer.status_code, answer.headers["x-model"]) == (200, file.stem)
    with Image.open(BytesIO(answer.content)) as mask, Image.open(EXAMPLES / "cat.jpg") as photo:
        assert mask.size == photo.size


@pytest.mark.parametrize("file", FILES, ids=named)
def test_the_card_gives_the_score_that_the_header_has(file: Path) -> None:
    scores = {metric.name: metric for metric in inspect(file).header.metrics}
    card = file.with_suffix(".md").read_text()

    assert f"mIoU **{scores['mIoU'].value:.4f}**" in card
    assert f"{scores['mIoU'].num_images} images" in card


@pytest.mark.parametrize("file", FILES, ids=named)
def test_the_card_names_every_dataset_that_was_trained_on(file: Path) -> None:
    training = inspect(file).header.training
    card = file.with_suffix(".md").read_text()

    assert training.datasets
    assert all(re.search(rf"\b{dataset.name}\b.*\b{dataset.num_images}\b", card) for dataset in training.datasets)
    commits = [training.commit] if training.commit else [part.commit for part in training.averaged]
    assert commits
    assert all(commit and commit in card for commit in commits)


@pytest.mark.parametrize(("name", "label"), [("cat", "cat"), ("astronaut", "person")])
def test_the_example_pictures_show_what_they_show(shipped: Checkpoint, name: str, label: str) -> None:
    spec = shipped.header.spec
    with Image.open(EXAMPLES / f"{name}.jpg") as image:
        found = predict(shipped.network, [network_input(image, spec)], spec)[0].mask

    pixels = torch.bincount(found.flatten(), minlength=spec.num_classes)
    assert spec.classes[int(pixels[1:].argmax()) + 1] == label
    assert pixels[spec.classes.index(label)] > 0.25 * found.numel()


@pytest.mark.data
@pytest.mark.parametrize("file", [DEFAULT, *(pytest.param(file, marks=pytest.mark.soak) for file in OTHERS)], ids=named)
def test_the_recorded_score_is_the_score(file: Path, val: VOC) -> None:
    checkpoint = verify(file)

    scores = evaluate(checkpoint.network, checkpoint.header.spec, val)

    recorded = next(metric for metric in checkpoint.header.metrics if metric.name == "mIoU")
    assert len(val) == recorded.num_images
    assert scores.mean_iou == pytest.approx(recorded.value, abs=0.002)


def test_to_load_them_imports_neither_torchvision_nor_a_compiler() -> None:
    code = (
        "import sys; from pathlib import Path; import service.app; from model_zoo.checkpoint import load\n"
        f"for path in Path({str(SHIPPED_CHECKPOINTS)!r}).glob('*.safetensors'): load(path)\n"
        "print(*({'torchvision', 'torch._dynamo'} & sys.modules.keys()))"
    )

    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)  # noqa: S603

    assert found.stdout.split() == []  # each takes two seconds of every start


@pytest.mark.data
async def test_what_is_served_is_what_evaluation_scores(shipped: Checkpoint, val: VOC, data_root: Path) -> None:
    spec = shipped.header.spec
    folder = data_root / "voc" / "VOCdevkit" / "VOC2012" / "JPEGImages"

    # As many threads as here: of another number, rounding may change a pixel where two classes are equal.
    async with running(create_app(Settings(device="cpu", torch_threads=torch.get_num_threads()))) as client:
        await until_ready(client)
        for index in range(SOME_IMAGES):
            body = (folder / f"{val.ids[index]}.jpg").read_bytes()
            png = await client.post("/segment", files={"image": ("photo.jpg", body)})
            rle = await client.post("/segment?format=rle", content=body, headers={"Content-Type": "image/jpeg"})

            served = np.array(Image.open(BytesIO(png.content)))
            decoded = np.full(served.shape, 255, np.uint8)
            for segment in rle.json()["segments"]:
                decoded[coco.decode(segment["rle"]) == 1] = segment["class_id"]
            evaluated = predict(shipped.network, [network_input(val[index].image, spec)], spec)[0].mask
            assert np.array_equal(served, evaluated.numpy())
            assert np.array_equal(decoded, served)
