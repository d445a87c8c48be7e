"""Run the code of docs/exporting.md, and hold what it makes of a photo against the project's own way."""

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from benchmarks.onnx_parity import random_network
from model_zoo.card import Card
from model_zoo.checkpoint import load, save
from model_zoo.predict import predict
from model_zoo.preprocess import network_input, upright_rgb
from model_zoo.spec import SizeRule
from tests.training.exporting.specs import spec_of
from training.__main__ import main

ROOT = Path(__file__).parents[3]
SHIPPED = sorted((ROOT / "model_zoo" / "checkpoints").glob("deeplabv3plus-*.safetensors"))


def run_page(checkpoint: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Export a checkpoint into a folder, run the page's Python code there, and give its variables."""
    found = re.search(r"```python\n(.*?)```", (ROOT / "docs" / "exporting.md").read_text(), re.DOTALL)
    assert found is not None
    assert main(["export", str(checkpoint), "--onnx", str(folder / "model.onnx"), "--output", "mask"]) == 0
    monkeypatch.chdir(folder)
    variables: dict[str, Any] = {}
    exec(compile(found[1], "docs/exporting.md", "exec"), variables)  # noqa: S102  # our own page
    return variables


def faded_picture(width: int, height: int) -> Image.Image:
    """Make a picture of noise that fades out to the right."""
    pixels: NDArray[np.uint8] = np.random.default_rng(0).integers(0, 256, (height, width, 4), np.uint8)
    pixels[..., 3] = np.linspace(255, 0, width)
    return Image.fromarray(pixels)


@pytest.mark.parametrize("checkpoint", SHIPPED, ids=lambda file: file.stem)
def test_the_code_in_the_page_finds_the_cat_with_the_shipped_checkpoint(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(ROOT / "examples" / "cat.jpg", tmp_path / "photo.jpg")

    run_page(checkpoint, tmp_path, monkeypatch)

    loaded = load(checkpoint)
    with Image.open(tmp_path / "photo.jpg") as photo, Image.open(tmp_path / "mask.png") as mask:
        ours = predict(loaded.network, [network_input(photo, loaded.header.spec)], loaded.header.spec)[0].mask.numpy()
        theirs = np.asarray(mask)
    assert theirs.shape == ours.shape
    assert (theirs == ours).mean() > 0.999
    assert (theirs == loaded.header.spec.classes.index("cat")).mean() > 0.25


@pytest.mark.parametrize(
    ("policy", "width", "height"), [("native", 500, 30), ("longest", 30, 500), ("shortest", 500, 30)]
)
def test_the_code_in_the_page_feeds_the_graph_what_the_service_would(
    policy: str, width: int, height: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = SizeRule.model_validate({"policy": policy, "side": 32, "multiple": 16})
    spec = spec_of("unet", {"base_channels": 2}).model_copy(update={"size": size})
    save(tmp_path / "small.safetensors", random_network(spec), Card(name="small", spec=spec))
    photo = faded_picture(width, height)
    photo.save(tmp_path / "photo.jpg", "PNG")

    images = run_page(tmp_path / "small.safetensors", tmp_path, monkeypatch)["images"]

    assert np.array_equal(images, network_input(upright_rgb(photo), spec).pixels[None].numpy())
    with Image.open(tmp_path / "mask.png") as mask:
        assert mask.size == photo.size
