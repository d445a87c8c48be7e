import json
from base64 import b64encode
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from tests.service.conftest import Serve
from tests.service.fakes import POISON, encode, noisy_image, plain_image

pytestmark = pytest.mark.anyio

INFER = "/v2/models/tiny/infer"


def asked(*files: bytes, **more: object) -> dict[str, object]:
    data = [b64encode(file).decode() for file in files]
    return {"inputs": [{"name": "image", "datatype": "BYTES", "shape": [len(files)], "data": data}], **more}


async def test_the_server_and_its_models_describe_themselves(serve_echo: Serve) -> None:
    async with serve_echo() as client:
        server = (await client.get("/v2")).json()
        model = (await client.get("/v2/models/tiny")).json()
        version = (await client.get("/v2/models/tiny/versions/1")).json()

    assert (server["name"], server["extensions"]) == ("segserve", ["binary_tensor_data"])
    assert model == version
    assert (model["name"], model["versions"]) == ("tiny", ["1"])
    assert model["inputs"] == [{"name": "image", "datatype": "BYTES", "shape": [-1]}]
    assert [output["name"] for output in model["outputs"]] == ["mask", "confidence"]


@pytest.mark.parametrize("path", ["health/live", "health/ready", "models/tiny/ready", "models/tiny/versions/1/ready"])
async def test_what_is_well_says_200(serve_echo: Serve, path: str) -> None:
    async with serve_echo() as client:
        answer = await client.get(f"/v2/{path}")

    assert answer.status_code == 200


async def test_a_mask_is_that_of_segment(serve: Serve) -> None:
    photo = encode(noisy_image((90, 70)))

    async with serve() as client:
        answer = await client.post(INFER, json=asked(photo, id="x"))
        png = await client.post("/segment", content=photo)

    mask = np.asarray(Image.open(BytesIO(png.content)))
    (output,) = answer.json()["outputs"]
    assert {key: answer.json()[key] for key in ("model_name", "model_version", "id")} == {
        "model_name": "tiny", "model_version": "1", "id": "x",
    }  # fmt: skip
    assert (output["name"], output["datatype"], output["shape"]) == ("mask", "UINT8", [1, 70, 90])
    np.testing.assert_array_equal(np.reshape(output["data"], (70, 90)), mask)


async def test_parameters_are_the_options_of_segment(serve: Serve) -> None:
    photo = encode(noisy_image((90, 70)))
    options: dict[str, object] = {"classes": "cat", "size": "network", "threshold": 0.2, "min_area": 3, "tta": "flip"}

    async with serve() as client:
        answer = await client.post(INFER, json=asked(photo, parameters=options))
        png = await client.post("/segment", content=photo, params=options)  # type: ignore[arg-type]  # JSON's own types

    (output,) = answer.json()["outputs"]
    np.testing.assert_array_equal(
        np.reshape(output["data"], output["shape"])[0], np.asarray(Image.open(BytesIO(png.content)))
    )


async def test_several_images_of_one_size_are_one_tensor_and_the_confidence_another(serve_echo: Serve) -> None:
    async with serve_echo() as client:
        plain = await client.post(INFER, json=asked(plain_image(1), plain_image(3)))

    (output,) = plain.json()["outputs"]
    masks = np.reshape(output["data"], output["shape"])
    assert [np.unique(mask).tolist() for mask in masks] == [[1], [3]]


async def test_the_confidence_comes_to_those_who_name_it(serve: Serve) -> None:
    outputs = [{"name": "confidence"}, {"name": "mask"}]

    async with serve() as client:
        answer = await client.post(INFER, json=asked(encode(noisy_image()), outputs=outputs))

    confidence, mask = answer.json()["outputs"]
    assert (confidence["name"], mask["name"]) == ("confidence", "mask")
    assert confidence["shape"] == mask["shape"]
    assert len(set(confidence["data"])) > 1


@pytest.mark.parametrize(
    ("path", "body", "status", "told"),
    [
        (INFER, b"{", 422, "the JSON is wrong in its syntax"),
        (INFER, asked(), 422, "0 images came, allowed are 1 to 3"),
        (INFER, asked(*[b"x"] * 4), 422, "4 images came, allowed are 1 to 3"),
        (INFER, asked(b"x"), 422, "the 1 bytes are not an image"),
        (INFER, asked(plain_image(), plain_image(size=(8, 9))), 422, "the images have the sizes 8x9, 40x30"),
        (INFER, asked(plain_image(), parameters={"classes": "wolf"}), 422, "unknown class 'wolf'"),
        (
            INFER,
            asked(plain_image(), parameters={"format": "png"}),
            422,
            "unknown parameter 'format', known are classes",
        ),
        (INFER, asked(plain_image(), parameters={"threshold": 2}), 422, "parameter threshold is 2: Input should be"),
        (INFER, asked(plain_image(POISON)), 500, "the network failed on this image"),
        (INFER, bytes(5000), 413, "body is 5000 bytes, at most 4096"),
        ("/v2/models/big/infer", asked(plain_image()), 404, "no model 'big', served are tiny@1"),
        ("/v2/models/tiny/versions/9/infer", asked(plain_image()), 404, "no model 'tiny@9'"),
        ("/v2/models/tiny/generate", asked(plain_image()), 404, "not found"),
    ],
)
async def test_errors_have_the_shape_of_the_protocol(
    serve_echo: Serve, path: str, body: bytes | dict[str, object], status: int, told: str
) -> None:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()

    async with serve_echo(max_images_per_request=3, max_body_bytes=4096) as client:
        answer = await client.post(path, content=content, headers={"Content-Type": "application/json"})

    assert answer.status_code == status
    assert list(answer.json()) == ["error"]
    assert told in answer.json()["error"]
    assert answer.headers["x-request-id"]


async def test_a_length_that_is_no_number_is_refused(serve_echo: Serve) -> None:
    async with serve_echo() as client:
        answer = await client.post(INFER, content=b"{}", headers={"Inference-Header-Content-Length": "ten"})

    assert answer.status_code == 422
    assert "Inference-Header-Content-Length is 'ten'" in answer.json()["error"]
