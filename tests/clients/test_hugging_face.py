from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import InferenceClient
from PIL import Image

from tests.faults.server import Server


@pytest.mark.parametrize("subtask", [None, "semantic"])
@pytest.mark.parametrize("kind", ["path", "bytes"])
def test_image_segmentation_gives_a_mask_of_every_class(
    server: Server, photo: bytes, tmp_path: Path, subtask: str | None, kind: str
) -> None:
    path = tmp_path / "cat.jpg"
    path.write_bytes(photo)
    client = InferenceClient(server.url + "/segment?format=hf", timeout=60)

    found = client.image_segmentation(path if kind == "path" else photo, subtask=subtask)  # type: ignore[arg-type]  # a literal

    png = server.post("/segment", photo, content_type="image/jpeg")
    mask = np.asarray(Image.open(BytesIO(png.content)))
    assert [element.label for element in found] == [f"class {label}" for label in np.unique(mask)]
    for element in found:
        assert isinstance(element.mask, Image.Image)
        is_inside = mask == int(element.label.removeprefix("class "))
        np.testing.assert_array_equal(np.asarray(element.mask) == 255, is_inside)
