"""Serve what was imported, and hold the masks against those that its origin draws."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F
from torchvision.transforms._presets import (  # type: ignore[import-untyped]  # torchvision has no stubs
    SemanticSegmentation,
)

from service.app import create_app
from service.settings import Settings
from tests.service.conftest import running, until_ready
from tests.service.fakes import encode, noisy_image
from tests.training.importing.conftest import Theirs

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


def expected_scores(theirs: Theirs, image: Image.Image, *, side: int) -> torch.Tensor:
    """Give scores ``[C, H, W]`` as torchvision would: resized as it evaluates, and brought back to the image's size."""
    logits = theirs.logits(SemanticSegmentation(resize_size=side)(image).unsqueeze(0))
    return F.interpolate(logits, size=(image.height, image.width), mode="bilinear", align_corners=False)[0]


def check_mask(mask: np.ndarray[tuple[int, ...], np.dtype[np.uint8]], scores: torch.Tensor) -> None:
    """Check that a mask is the argmax of scores, but for pixels where two classes are equal up to rounding."""
    chosen = scores.gather(0, torch.from_numpy(mask.astype(np.int64))[None])[0]
    torch.testing.assert_close(chosen, scores.amax(0), atol=1e-5 * float(scores.std()), rtol=0)
    assert (mask == scores.argmax(0).numpy()).mean() > 0.999


async def served_mask(checkpoint: Path, image: Image.Image) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    settings = Settings.model_validate({"checkpoints": checkpoint, "device": "cpu"})
    async with running(create_app(settings)) as client:
        await until_ready(client, within=120)  # the networks are large, and tests may run beside other work
        answer = await client.post("/segment", content=encode(image), headers={"Content-Type": "image/png"})
    assert answer.status_code == 200
    return np.asarray(Image.open(BytesIO(answer.content)))


async def test_an_imported_network_is_served_and_draws_the_masks_of_its_origin(theirs: Theirs, imported: Path) -> None:
    image = noisy_image((140, 105))

    mask = await served_mask(imported, image)

    assert len(np.unique(mask)) > 1
    check_mask(mask, expected_scores(theirs, image, side=64))


async def test_without_a_word_about_sizes_masks_are_those_that_torchvision_evaluates(
    small: Theirs, imported_small: Path
) -> None:
    image = noisy_image((150, 130))

    mask = await served_mask(imported_small, image)

    check_mask(mask, expected_scores(small, image, side=520))
