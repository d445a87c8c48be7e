import json
import re
from base64 import b64encode
from email import policy
from email.parser import BytesParser
from io import BytesIO

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from service.masks import ENCODERS
from tests.service.conftest import SPEC, Serve
from tests.service.fakes import POISON, encode, noisy_image, plain_image

pytestmark = pytest.mark.anyio

PHOTO = encode(noisy_image((90, 70)))
PNG = {"Content-Type": "image/png"}
VOID = 255


async def segment(client: httpx.AsyncClient, query: str = "", data: bytes = PHOTO) -> httpx.Response:
    return await client.post(f"/segment{query}", content=data, headers=PNG)


async def mask_of(client: httpx.AsyncClient, query: str = "") -> NDArray[np.uint8]:
    return np.asarray(Image.open(BytesIO((await segment(client, query)).content)))


@pytest.mark.parametrize("name", ENCODERS)
async def test_every_format_answers_with_its_media_type(serve: Serve, name: str) -> None:
    async with serve() as client:
        answer = await segment(client, f"?format={name}")

    assert (answer.status_code, answer.headers["content-type"]) == (200, ENCODERS[name].media_type)
    assert answer.content


async def test_pixels_of_classes_that_nobody_asked_for_are_void(serve: Serve) -> None:
    async with serve() as client:
        whole = await mask_of(client)
        kept = np.unique(whole)[:2]
        names = ",".join(SPEC.classes[label] for label in kept)
        part = await mask_of(client, f"?classes={names}")
        segments = (await segment(client, f"?format=rle&classes={names}")).json()["segments"]

    np.testing.assert_array_equal(part, np.where(np.isin(whole, kept), whole, VOID))
    assert [entry["class_id"] for entry in segments] == kept.tolist()


async def test_small_regions_are_void_and_count_for_no_probability(serve: Serve) -> None:
    async with serve() as client:
        whole = await mask_of(client)
        part = await mask_of(client, "?min_area=40")
        before = (await segment(client, "?format=counts")).json()["counts"]
        after = (await segment(client, "?format=counts&min_area=40")).json()["counts"]

    assert 0 < (part == VOID).sum() < part.size
    np.testing.assert_array_equal(part[part != VOID], whole[part != VOID])
    assert {entry["class_id"]: entry["pixels"] for entry in after} == {
        label: (part == label).sum() for label in np.unique(part) if label != VOID
    }
    assert all(0 < entry["probability"] <= 1 for entry in (*before, *after))


async def test_unsure_pixels_are_void(serve: Serve) -> None:
    async with serve() as client:
        whole = await mask_of(client)
        archive = np.load(BytesIO((await segment(client, "?format=npz")).content))
        part = await mask_of(client, "?threshold=0.9")

    is_sure = archive["probabilities"].max(axis=0) >= 0.9
    assert 0.5 < is_sure.mean() < 1
    assert (part == np.where(is_sure, whole, VOID)).mean() > 0.999  # float16 rounds


async def test_a_mask_has_the_size_that_the_network_sees_if_asked(serve: Serve) -> None:
    async with serve() as client:
        mask = await mask_of(client, "?size=network")
        overlay = Image.open(BytesIO((await segment(client, "?size=network&format=overlay")).content))

    assert mask.shape == (50, 64)  # the longer side of 90x70 pixels becomes 64
    assert overlay.size == (64, 50)


async def test_a_flipped_view_makes_the_mask_of_a_mirrored_image_its_mirror(serve: Serve) -> None:
    mirrored = encode(noisy_image((64, 48)).transpose(Image.Transpose.FLIP_LEFT_RIGHT))

    async with serve() as client:
        one = await segment(client, "?tta=flip&format=npz", encode(noisy_image((64, 48))))
        other = await segment(client, "?tta=flip&format=npz", mirrored)

    ours, theirs = (np.load(BytesIO(answer.content))["probabilities"] for answer in (one, other))
    np.testing.assert_allclose(ours, theirs[..., ::-1], atol=2e-3)


async def test_a_labelling_tool_finds_the_names_of_its_own_project(serve: Serve) -> None:
    async with serve() as client:
        default = (await segment(client, "?format=labelstudio")).json()["result"][0]
        named = (await segment(client, "?format=labelstudio&from_name=kind&to_name=photo")).json()["result"][0]

    assert (default["from_name"], default["to_name"]) == ("tag", "image")
    assert (named["from_name"], named["to_name"]) == ("kind", "photo")


@pytest.mark.parametrize("content_type", ["application/octet-stream", None])
async def test_bytes_of_no_named_kind_are_an_image(serve: Serve, content_type: str | None) -> None:
    headers = {} if content_type is None else {"Content-Type": content_type}

    async with serve() as client:
        answer = await client.post("/segment", content=PHOTO, headers=headers)

    assert answer.status_code == 200


@pytest.mark.parametrize("parameters", [{}, {"parameters": {}}, {"parameters": {"subtask": "semantic"}}])
async def test_an_image_may_come_in_json_as_to_hugging_face(serve: Serve, parameters: dict[str, object]) -> None:
    async with serve() as client:
        answer = await client.post(
            "/segment?format=hf", json={"inputs": b64encode(PHOTO).decode("ascii"), **parameters}
        )
        same = await segment(client, "?format=hf")

    assert answer.json() == same.json()


async def test_several_images_are_answered_in_their_order_each_with_its_status(serve_echo: Serve) -> None:
    files = [("images", (name, data)) for name, data in (("a.png", plain_image(1)), ("b", b"x"), ("c", plain_image(3)))]

    async with serve_echo() as client:
        answer = await client.post("/segment?format=counts", files=files)

    entries = answer.json()["answers"]
    assert answer.status_code == 200
    assert [(entry["index"], entry["name"], entry["status"]) for entry in entries] == [
        (0, "a.png", 200), (1, "b", 422), (2, "c", 200),
    ]  # fmt: skip
    assert [entry["answer"] and entry["answer"]["counts"][0]["class_id"] for entry in entries] == [1, None, 3]
    assert entries[1]["problem"]["type"] == "urn:problem-type:segserve:unreadable-image"


async def test_several_masks_come_in_parts(serve_echo: Serve) -> None:
    files = [("images", ("x", data)) for data in (plain_image(2), plain_image(POISON), plain_image(4))]

    async with serve_echo() as client:
        answer = await client.post("/segment", files=files)

    head = f"Content-Type: {answer.headers['content-type']}\r\n\r\n".encode()
    parts = list(BytesParser(policy=policy.HTTP).parsebytes(head + answer.content).iter_parts())
    assert [part["x-status"] for part in parts] == ["200", "500", "200"]
    assert [part.get_content_type() for part in parts] == ["image/png", "application/problem+json", "image/png"]
    bodies = [part.get_content() for part in parts]
    assert [np.unique(np.asarray(Image.open(BytesIO(bodies[i])))).tolist() for i in (0, 2)] == [[2], [4]]
    assert json.loads(bodies[1])["status"] == 500


async def test_a_list_of_one_is_a_list(serve_echo: Serve) -> None:
    async with serve_echo() as client:
        answer = await client.post("/segment?format=rle", files=[("images", ("x", plain_image()))])

    assert len(answer.json()["answers"]) == 1


async def test_more_images_than_allowed_are_refused(serve_echo: Serve) -> None:
    async with serve_echo(max_images_per_request=2) as client:
        three = await client.post("/segment", files=[("images", ("x", plain_image()))] * 3)
        many = await client.post("/segment", files=[("images", ("x", plain_image()))] * 9)
        two = await client.post("/segment", files=[("image", ("x", plain_image()))] * 2)

    assert [answer.status_code for answer in (three, many, two)] == [422] * 3
    assert three.json()["detail"] == "the form holds 3 fields 'images', at most 2"
    assert "up to 2, each named 'images'" in many.json()["detail"]
    assert two.json()["detail"] == "the form holds 2 fields 'image', at most 1"


async def test_images_of_one_request_count_one_by_one(serve_echo: Serve) -> None:
    files = [("images", ("x", data)) for data in (plain_image(1), b"x", plain_image(3))]

    async with serve_echo() as client:
        await client.post("/segment", files=files)
        await client.post("/segment", content=b"x", headers={"Content-Type": "text/plain"})
        metrics = (await client.get("/metrics")).text

    assert 'segserve_images_total{model="tiny",outcome="ok"} 2.0' in metrics
    assert 'segserve_images_total{model="tiny",outcome="unreadable-image"} 1.0' in metrics
    assert 'segserve_images_total{model="tiny",outcome="unsupported-image"} 1.0' in metrics
    assert 'outcome="failed"' not in metrics


async def test_there_has_to_be_room_for_all_images_of_a_request(serve_echo: Serve) -> None:
    async with serve_echo(max_in_flight=2) as client:
        answer = await client.post("/segment", files=[("images", ("x", plain_image()))] * 3)

    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")


async def test_metrics_tell_how_many_pixels_each_class_has(serve_echo: Serve) -> None:
    async with serve_echo() as client:
        await segment(client, data=plain_image(3, size=(400, 300)))
        await segment(client, data=plain_image(1, size=(10, 10)))
        metrics = (await client.get("/metrics")).text

    found = dict(re.findall(r'segserve_class_pixels_total\{label="(\w+)",model="tiny"\} (\S+)', metrics))
    assert {name: round(float(value)) for name, value in found.items()} == {"sheep": 120_000, "cat": 100}


@pytest.mark.parametrize(("most", "status"), [(5 * 90 * 70, 200), (5 * 90 * 70 - 1, 413)])
async def test_probabilities_are_answered_up_to_a_limit(serve: Serve, most: int, status: int) -> None:
    async with serve(max_probability_values=most) as client:
        whole = await segment(client, "?format=npz")
        small = await segment(client, "?format=npz&size=network")
        mask = await segment(client)

    assert (whole.status_code, small.status_code, mask.status_code) == (status, 200, 200)


async def test_too_many_probabilities_are_told_with_the_limit(serve: Serve) -> None:
    async with serve(max_probability_values=100) as client:
        answer = await segment(client, "?format=npz")

    assert "the probabilities of 5 classes at 90x70 px are too many, at most 100" in answer.json()["detail"]
