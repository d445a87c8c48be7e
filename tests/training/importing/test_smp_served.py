"""Serve what was imported from segmentation-models-pytorch, and hold the mask against that of its origin."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from service.app import create_app
from service.settings import Settings
from tests.service.conftest import running, until_ready
from tests.service.fakes import encode, noisy_image
from tests.training.importing.conftest import import_with
from tests.training.importing.smp_folders import logits_of, smp_folder

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.mark.parametrize("kind", ["Unet", "DeepLabV3Plus", "FPN"])
async def test_an_imported_network_is_served_and_draws_the_mask_of_its_origin(tmp_path: Path, kind: str) -> None:
    theirs = smp_folder(tmp_path / "theirs", kind, "mobilenet_v2")
    (tmp_path / "spec.toml").write_text("classes = ['sky', 'sea', 'sand']\n[size]\nside = 160")  # as large as the image
    import_with(tmp_path / "theirs", "--out", tmp_path / "ours.safetensors", "--spec", tmp_path / "spec.toml")
    image = noisy_image((160, 96))

    settings = Settings.model_validate({"checkpoints": tmp_path / "ours.safetensors", "device": "cpu"})
    async with running(create_app(settings)) as client:
        await until_ready(client)
        answer = await client.post("/segment", content=encode(image), headers={"Content-Type": "image/png"})

    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None] / 255  # [1, 3, H, W]
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    expected = logits_of(theirs, (pixels - mean) / std)[0].argmax(dim=0).numpy()
    assert answer.status_code == 200
    assert len(np.unique(expected)) > 1
    np.testing.assert_array_equal(np.asarray(Image.open(BytesIO(answer.content))), expected)
