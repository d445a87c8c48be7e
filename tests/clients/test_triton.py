from collections.abc import Iterator
from io import BytesIO

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from tritonclient import http as triton  # type: ignore[import-untyped]  # it has no types
from tritonclient.utils import InferenceServerException  # type: ignore[import-untyped]  # it has no types

from tests.faults.server import Server


@pytest.fixture
def client(server: Server) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(server.url.removeprefix("http://")) as client:
        yield client


def expected(server: Server, photo: bytes, query: str = "") -> NDArray[np.uint8]:
    answer = server.post(f"/segment{query}", photo, content_type="image/jpeg")
    return np.asarray(Image.open(BytesIO(answer.content)))


def files(*photos: bytes) -> triton.InferInput:
    tensor = triton.InferInput("image", [len(photos)], "BYTES")
    tensor.set_data_from_numpy(np.array(photos, dtype=np.object_))
    return tensor


def pixels(photo: bytes, *, binary: bool) -> triton.InferInput:
    values = np.asarray(Image.open(BytesIO(photo)).convert("RGB"))
    tensor = triton.InferInput("image", list(values.shape), "UINT8")
    tensor.set_data_from_numpy(values, binary_data=binary)
    return tensor


def test_it_finds_the_server_and_its_model(client: triton.InferenceServerClient) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("tiny")
    assert client.is_model_ready("tiny", "1")
    assert not client.is_model_ready("huge")
    assert client.get_server_metadata()["name"] == "segserve"
    metadata = client.get_model_metadata("tiny")
    assert (metadata["name"], metadata["versions"]) == ("tiny", ["1"])
    assert [tensor["name"] for tensor in metadata["inputs"]] == ["image"]


@pytest.mark.parametrize("binary", [True, False])
def test_a_file_gets_the_mask_of_segment(
    client: triton.InferenceServerClient, server: Server, photo: bytes, *, binary: bool
) -> None:
    outputs = [triton.InferRequestedOutput("mask", binary_data=binary)]

    result = client.infer("tiny", [files(photo)], outputs=outputs, request_id="7")

    np.testing.assert_array_equal(result.as_numpy("mask")[0], expected(server, photo))
    assert result.get_response()["id"] == "7"


@pytest.mark.parametrize("binary", [True, False])
def test_pixels_get_the_mask_of_the_file(
    client: triton.InferenceServerClient, server: Server, photo: bytes, *, binary: bool
) -> None:
    result = client.infer("tiny", [pixels(photo, binary=binary)])

    np.testing.assert_array_equal(result.as_numpy("mask")[0], expected(server, photo))


def test_options_and_several_images_and_outputs(
    client: triton.InferenceServerClient, server: Server, photo: bytes
) -> None:
    outputs = [triton.InferRequestedOutput(name) for name in ("mask", "confidence")]

    result = client.infer(
        "tiny", [files(photo, photo)], outputs=outputs, model_version="1", parameters={"min_area": 500}
    )

    masks = result.as_numpy("mask")
    assert len(masks) == 2
    np.testing.assert_array_equal(masks[0], expected(server, photo, "?min_area=500"))
    assert result.as_numpy("confidence").shape == masks.shape


def test_it_hears_what_is_wrong(client: triton.InferenceServerClient, photo: bytes) -> None:
    with pytest.raises(InferenceServerException, match=r"\[422\] the 7 bytes are not an image") as refusal:
        client.infer("tiny", [files(b"rubbish")])
    assert refusal.value.status() == "422"
    with pytest.raises(InferenceServerException, match="no model 'huge', served are tiny@1"):
        client.infer("huge", [files(photo)])
