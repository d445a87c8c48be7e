import asyncio
import re
from collections.abc import AsyncIterator
from io import BytesIO

import httpx
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from pycocotools import mask as coco

from tests.service.conftest import Serve
from tests.service.fakes import POISON, Echo, encode, noisy_image, plain_image

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),  # pycocotools' own
]

PNG = {"Content-Type": "image/png"}
JSON = {"Content-Type": "application/json"}
FORM = b'--x\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\na\r\n--x--\r\n'


def indices(png: bytes) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    image = Image.open(BytesIO(png))
    assert image.mode == "P"
    return np.asarray(image)


async def post(client: httpx.AsyncClient, data: bytes, **query: str) -> httpx.Response:
    return await client.post("/segment", content=data, headers=PNG, params=query)


async def test_a_form_is_answered_with_a_png_of_class_ids(serve: Serve) -> None:
    async with serve() as client:
        answer = await client.post("/segment", files={"image": ("cat.png", encode(noisy_image((90, 70))))})

    assert answer.status_code == 200
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["x-model"] == "tiny"
    mask = indices(answer.content)
    assert mask.shape == (70, 90)
    assert set(np.unique(mask)) <= set(range(5))
    assert len(np.unique(mask)) > 1


async def test_a_raw_body_gets_the_same_answer_as_a_form(serve: Serve) -> None:
    data = encode(noisy_image())

    async with serve() as client:
        raw = await post(client, data)
        form = await client.post("/segment", files={"image": data})

    assert raw.content == form.content


@pytest.mark.parametrize("kind", ["jpeg", "png", "webp", "bmp", "tiff"])
async def test_each_kind_of_body_is_read(serve_echo: Serve, kind: str) -> None:
    data = encode(Image.new("RGB", (40, 30)), kind)

    async with serve_echo() as client:
        answer = await client.post("/segment", content=data, headers={"Content-Type": f"image/{kind}; charset=x"})

    assert indices(answer.content).shape == (30, 40)


async def test_the_bytes_choose_the_decoder_whatever_the_content_type_says(serve_echo: Serve) -> None:
    async with serve_echo() as client:
        answer = await client.post("/segment", content=plain_image(), headers={"Content-Type": "image/jpeg"})

    assert answer.status_code == 200


@pytest.mark.parametrize("seed", range(5))
async def test_the_rle_answer_holds_the_pixels_of_the_png_answer(serve: Serve, seed: int) -> None:
    data = encode(noisy_image((61, 47), seed=seed))

    async with serve() as client:
        mask = indices((await post(client, data, format="png")).content)
        rle = (await post(client, data, format="rle")).json()

    assert rle["model"] == "tiny"
    assert rle["size"] == [47, 61]
    rebuilt = np.full_like(mask, 255)
    for segment in rle["segments"]:
        decoded = coco.decode(segment["rle"])
        rebuilt[decoded.astype(bool)] = segment["class_id"]
        assert segment["area"] == decoded.sum()
        assert segment["label"] == ["background", "cat", "dog", "sheep", "car"][segment["class_id"]]
        assert 1 / 5 <= segment["probability"] <= 1
    np.testing.assert_array_equal(rebuilt, mask)


async def test_accept_chooses_the_format(serve_echo: Serve) -> None:
    async with serve_echo() as client:
        answer = await client.post("/segment", content=plain_image(), headers={**PNG, "Accept": "application/json"})

    assert answer.headers["content-type"] == "application/json"
    assert answer.json()["segments"][0]["class_id"] == 1


@pytest.mark.parametrize("accept", ["image/png", "*/*", "image/png, application/json"])
async def test_what_comes_can_be_saved_as_a_png(serve_echo: Serve, accept: str) -> None:
    async with serve_echo() as client:
        answer = await client.post("/segment", content=plain_image(), headers={**PNG, "Accept": accept})

    assert answer.headers["content-type"] == "image/png"
    assert (indices(answer.content) == 1).all()


async def test_no_answer_is_a_list_of_pixels(serve: Serve) -> None:
    async with serve() as client:
        answer = (await post(client, encode(noisy_image((90, 70))), format="rle")).text

    assert max(map(len, re.findall(r"\[([-\d.,\s]*)\]", answer))) < 30  # a size or a box


async def test_with_batches_of_one_everybody_is_answered(serve_echo: Serve, echo: Echo) -> None:
    async with serve_echo(max_batch_size=1) as client:
        answers = await asyncio.gather(*(post(client, plain_image(red)) for red in range(8)))
        metrics = (await client.get("/metrics")).text

    assert [int(indices(answer.content)[0, 0]) for answer in answers] == list(range(8))
    assert sorted(echo.batches) == [[red] for red in range(8)]
    assert 'segserve_batch_size_bucket{le="1.0",model="tiny"} 8.0' in metrics


async def test_the_mask_is_of_the_upright_image(serve: Serve) -> None:
    upright = noisy_image((64, 32))
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = encode(upright.transpose(Image.Transpose.ROTATE_90), "PNG", exif=exif)

    async with serve() as client:
        expected = await post(client, encode(upright))
        answer = await post(client, turned)

    assert answer.content == expected.content


async def test_the_time_of_each_stage_is_told(serve_echo: Serve) -> None:
    async with serve_echo() as client:
        answer = await post(client, plain_image())

    stages = dict(part.split(";dur=") for part in answer.headers["server-timing"].split(", "))
    assert list(stages) == ["decode", "queue", "infer", "encode"]
    assert all(float(duration) >= 0 for duration in stages.values())


@pytest.mark.parametrize(
    ("body", "headers", "query", "status", "told"),
    [
        (b"", PNG, "", 422, "the image is empty (0 bytes)"),
        (b"hello", PNG, "", 422, "the 5 bytes are not an image"),
        (plain_image()[:40], PNG, "", 422, "this PNG is damaged or cut short (40 bytes)"),
        (b"GIF89a", PNG, "", 415, "this is GIF; read are JPEG, PNG, WebP, BMP, TIFF"),
        (plain_image(), {"Content-Type": "text/plain"}, "", 415, "content type is text/plain, allowed are multipart"),
        (b"", {}, "", 422, "the image is empty"),
        (b"{", JSON, "", 422, "the JSON body is wrong in its syntax; wanted is an object with the image in base64"),
        (b'{"inputs": "?"}', JSON, "", 422, "the JSON body is wrong in inputs"),
        (b'{"inputs": "", "parameters": {"threshold": 0.5}}', JSON, "", 422, "wrong in parameters.threshold"),
        (b'{"inputs": "", "parameters": {"subtask": "panoptic"}}', JSON, "", 422, "wrong in parameters.subtask"),
        (plain_image(), PNG, "?classes=dog,wolf", 422, "unknown class 'wolf', this model knows background, cat, dog"),
        (plain_image(), PNG, "?classes=,", 422, "classes names no class"),
        (plain_image(), PNG, "?threshold=2", 422, "query option threshold is '2': Input should be less than or equal"),
        (plain_image(), PNG, "?threshold=nan", 422, "query option threshold is 'nan'"),
        (plain_image(), PNG, "?min_area=-1", 422, "query option min_area is '-1'"),
        (plain_image(), PNG, "?size=huge", 422, "query option size is 'huge': Input should be 'original' or 'network'"),
        (plain_image(), PNG, "?tta=rotate", 422, "query option tta is 'rotate': Input should be 'none' or 'flip'"),
        (plain_image(), PNG, "?colour=red", 422, "unknown query option 'colour'"),
        (plain_image(), PNG, "?from_name=tag", 422, "from_name and to_name are for format=labelstudio alone"),
        (plain_image(size=(300, 10)), PNG, "", 413, "image is 300x10 px, at most 200 on a side"),
        (plain_image(size=(150, 150)), PNG, "", 413, "image is 150x150 px = 22500, at most 20000 pixels"),
        (bytes(5000), PNG, "", 413, "body is 5000 bytes, at most 4096"),
        (plain_image(), PNG, "?format=gif", 422, "unknown format 'gif', allowed are png"),
        (plain_image(), PNG, "?model=big", 404, "no model 'big', served are tiny"),
        (plain_image(), {**PNG, "Accept": "text/html"}, "", 406, "only image/png, application/json"),
        (b"--x", {"Content-Type": "multipart/form-data"}, "", 422, "the form cannot be read"),
        (b"rubbish", {"Content-Type": "multipart/form-data; boundary=x"}, "", 422, "the form cannot be read"),
        (FORM, {"Content-Type": "multipart/form-data; boundary=x; charset=undefined"}, "", 422, "the form cannot"),
        (b'{"a":1' + b',"b":2' * 200 + b"}", {"Content-Type": "application/json"}, "", 422, "more than 100 commas"),
    ],
)  # fmt: skip
async def test_bad_requests_are_told_what_is_wrong(  # noqa: PLR0917  # each is a column of the table
    serve_echo: Serve, body: bytes, headers: dict[str, str], query: str, status: int, told: str
) -> None:
    async with serve_echo(max_image_side=200, max_image_pixels=20_000, max_body_bytes=4096) as client:
        answer = await client.post(f"/segment{query}", content=body, headers=headers)

    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert told in problem["detail"]
    assert problem["status"] == status
    assert problem["request_id"] == answer.headers["x-request-id"]


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"photo": ("a.png", b"x")}, "the form holds 'photo'; allowed is one 'image', or 'images' repeated"),
        ({"image": (None, "x")}, "field 'image' is text"),
        ({"image": ("a.png", b"x"), "other": (None, "x")}, "the form holds 'image', 'other'; allowed is one 'image'"),
        ({f"f{i}": ("a.png", b"x") for i in range(50)}, "it has to hold one file, named 'image'"),
    ],
)
async def test_a_form_with_other_fields_is_refused(serve_echo: Serve, fields: dict[str, object], told: str) -> None:
    async with serve_echo() as client:
        answer = await client.post("/segment", files=fields)  # type: ignore[arg-type]  # odd forms are the point

    assert answer.status_code == 422
    assert told in answer.json()["detail"]


async def test_a_long_text_is_refused_before_its_charset_is_heard(serve_echo: Serve) -> None:
    form = b'--x\r\nContent-Disposition: form-data; name="image"\r\n\r\n%b\r\n--x--\r\n'
    headers = {"Content-Type": "multipart/form-data; boundary=x; charset=punycode"}

    async with serve_echo() as client:
        long = await client.post("/segment", content=form % (b"a" * 5000), headers=headers)
        short = await client.post("/segment", content=form % b"a-", headers=headers)

    assert (long.status_code, short.status_code) == (422, 422)
    assert "the form cannot be read" in long.json()["detail"]
    assert "the form holds" in short.json()["detail"]


async def test_a_large_form_is_not_written_to_the_disk(serve_echo: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", "/nowhere/at/all")

    async with serve_echo() as client:
        answer = await client.post("/segment", files={"image": plain_image() + bytes(2 << 20)})

    assert answer.status_code == 200


@pytest.mark.parametrize("headers", [PNG, {**PNG, "Content-Length": "5000"}])
async def test_an_endless_body_is_cut_off_at_the_limit(serve_echo: Serve, headers: dict[str, str]) -> None:
    async def endless() -> AsyncIterator[bytes]:
        while True:
            await asyncio.sleep(0.01)
            yield bytes(1024)

    async with asyncio.timeout(20), serve_echo(max_body_bytes=4096) as client:
        answer = await client.post("/segment", content=endless(), headers=headers)

    assert (answer.status_code, answer.headers["connection"]) == (413, "close")
    assert answer.json()["detail"] in {
        "body is longer than 4096 bytes (max_body_bytes)",
        "body is 5000 bytes, at most 4096 (max_body_bytes)",
    }


@pytest.mark.parametrize("setting", ["body_timeout", "request_timeout"])
async def test_a_body_that_comes_too_slowly_is_given_up_and_so_is_its_place(serve_echo: Serve, setting: str) -> None:
    async def slow() -> AsyncIterator[bytes]:
        yield plain_image()[:10]
        await asyncio.sleep(20)

    async with serve_echo(max_in_flight=1, **{setting: 0.05}) as client:
        answer = await client.post("/segment", content=slow(), headers=PNG)
        metrics = (await client.get("/metrics")).text

    assert (answer.status_code, answer.headers["connection"]) == (408, "close")
    assert answer.json()["detail"] == "the body had not arrived in full after 0.05 s"
    assert 'segserve_images_total{model="tiny",outcome="body-too-slow"} 1.0' in metrics
    assert 'segserve_in_flight{model="tiny"} 0.0' in metrics


async def test_a_body_that_takes_its_time_holds_no_place(serve_echo: Serve) -> None:
    reading, go = asyncio.Event(), asyncio.Event()

    async def waiting() -> AsyncIterator[bytes]:
        reading.set()
        await go.wait()
        yield plain_image()

    async with serve_echo(max_in_flight=1) as client:
        slow = asyncio.create_task(client.post("/segment", content=waiting(), headers=PNG))
        await asyncio.wait_for(reading.wait(), 20)
        quick = await post(client, plain_image())
        go.set()
        answered = await slow

    assert (quick.status_code, answered.status_code) == (200, 200)


async def test_the_bodies_of_all_requests_are_bounded_together(serve_echo: Serve) -> None:
    picture = plain_image()
    reading, go = asyncio.Event(), asyncio.Event()

    async def in_two_parts() -> AsyncIterator[bytes]:
        yield picture[:60]
        reading.set()
        await go.wait()
        yield picture[60:]

    async with serve_echo(max_body_bytes=1024, max_pending_body_bytes=1024) as client:
        slow = asyncio.create_task(client.post("/segment", content=in_two_parts(), headers=PNG))
        await asyncio.wait_for(reading.wait(), 20)
        refused = await post(client, bytes(1000))
        go.set()
        answered = await slow
        alone = await post(client, bytes(1000))

    assert (refused.status_code, refused.headers["retry-after"], answered.status_code) == (503, "1", 200)
    assert "hold 60 bytes and this one 1000, at most 1024 in all (max_pending_body_bytes)" in refused.json()["detail"]
    assert alone.status_code == 422


async def test_pixels_are_counted_before_they_are_decoded(serve_echo: Serve, echo: Echo) -> None:
    async with serve_echo(max_in_flight_pixels=2000) as client:
        echo.hold()
        first = asyncio.create_task(post(client, plain_image(3)))
        await asyncio.to_thread(echo.busy.wait, 20)
        refused = await post(client, plain_image(4))
        echo.go.set()
        accepted = await first

    assert (refused.status_code, refused.headers["retry-after"], accepted.status_code) == (503, "1", 200)
    assert "have 1200 pixels and this one 1200, at most 2000 in all" in refused.json()["detail"]


@pytest.mark.parametrize("seconds", ["nan", "-1", "0", "121", "soon", "inf"])
async def test_a_timeout_that_makes_no_sense_is_refused(serve_echo: Serve, seconds: str) -> None:
    async with serve_echo() as client:
        answer = await client.post("/segment", content=plain_image(), headers={**PNG, "X-Request-Timeout": seconds})

    assert answer.status_code == 422
    assert "X-Request-Timeout is " in answer.json()["detail"]


async def test_a_client_can_say_how_long_it_waits(serve_echo: Serve, echo: Echo) -> None:
    async with serve_echo() as client:
        echo.hold()
        answer = await client.post("/segment", content=plain_image(), headers={**PNG, "X-Request-Timeout": "0.05"})
        echo.go.set()

    assert answer.status_code == 504


async def test_a_priority_that_does_not_exist_is_refused(serve_echo: Serve) -> None:
    async with serve_echo() as client:
        answer = await client.post("/segment", content=plain_image(), headers={**PNG, "X-Priority": "urgent"})

    assert answer.status_code == 422
    assert answer.json()["detail"] == "X-Priority is 'urgent', allowed are interactive, bulk"


async def test_bulk_requests_leave_places_to_others(serve_echo: Serve, echo: Echo) -> None:
    bulk = {**PNG, "X-Priority": "bulk"}
    async with serve_echo(max_in_flight=2) as client:
        echo.hold()
        first = asyncio.create_task(client.post("/segment", content=plain_image(), headers=bulk))
        await asyncio.to_thread(echo.busy.wait, 20)
        refused = await client.post("/segment", content=plain_image(), headers=bulk)
        interactive = asyncio.create_task(post(client, plain_image()))
        echo.go.set()
        accepted = await asyncio.gather(first, interactive)

    assert (refused.status_code, [answer.status_code for answer in accepted]) == (503, [200, 200])


async def test_a_full_service_refuses_at_the_door(serve_echo: Serve, echo: Echo) -> None:
    async with serve_echo(max_in_flight=1) as client:
        echo.hold()
        first = asyncio.create_task(post(client, plain_image(3)))
        await asyncio.to_thread(echo.busy.wait, 20)
        refused = await post(client, b"not even looked at")
        echo.go.set()
        accepted = await first
        later = await post(client, plain_image(4))

    assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
    assert refused.json()["detail"] == "1 images are in work, at most 1 (max_in_flight)"
    assert refused.json()["type"] == "urn:problem-type:segserve:queue-full"
    assert (accepted.status_code, later.status_code) == (200, 200)


async def test_an_answer_that_takes_too_long_is_given_up(serve_echo: Serve, echo: Echo) -> None:
    async with serve_echo(request_timeout=0.1) as client:
        echo.hold()
        answer = await post(client, plain_image())
        echo.go.set()

    assert answer.status_code == 504
    assert answer.json()["detail"] == "no answer within 0.1 s (request_timeout, or X-Request-Timeout)"


async def test_an_image_that_breaks_the_network_fails_alone_and_without_secrets(serve_echo: Serve, echo: Echo) -> None:
    async with serve_echo() as client:
        echo.hold()
        first = asyncio.create_task(post(client, plain_image(3)))
        await asyncio.to_thread(echo.busy.wait, 20)
        rest = asyncio.gather(*(post(client, plain_image(red)) for red in (1, 2, POISON, 4)))
        while (await client.get("/metrics")).text.count('segserve_in_flight{model="tiny"} 5.0') == 0:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        echo.go.set()
        answers = [await first, *await rest]

    assert [answer.status_code for answer in answers] == [200, 200, 200, 500, 200]
    assert "secret" not in answers[3].text


async def test_a_client_that_hangs_up_takes_its_image_with_it(serve_echo: Serve, echo: Echo) -> None:
    async with serve_echo() as client:
        transport = client._transport
        assert isinstance(transport, httpx.ASGITransport)
        echo.hold()
        first = asyncio.create_task(post(client, plain_image(3)))
        await asyncio.to_thread(echo.busy.wait, 20)
        gone = await hang_up(transport, plain_image(9))
        echo.go.set()
        await first
        await post(client, plain_image(4))

    assert gone == 499
    assert [3] in echo.batches
    assert not any(9 in batch for batch in echo.batches)


async def hang_up(transport: httpx.ASGITransport, body: bytes) -> int:
    """Send a request and leave before its answer; give the status that the service notes for itself."""
    messages = [{"type": "http.request", "body": body, "more_body": False}, {"type": "http.disconnect"}]
    sent: list[dict[str, int]] = []

    async def receive() -> object:
        return messages.pop(0)

    async def send(message: dict[str, int]) -> None:
        sent.append(message)

    scope = {
        "type": "http", "http_version": "1.1", "method": "POST", "path": "/segment", "raw_path": b"/segment",
        "query_string": b"", "headers": [(b"content-type", b"image/png")], "scheme": "http",
        "server": ("test", 80), "client": ("test", 1), "root_path": "", "asgi": {"version": "3.0"},
    }  # fmt: skip
    await transport.app(scope, receive, send)  # type: ignore[arg-type]  # plain dicts are ASGI messages
    return sent[0]["status"]


async def test_concurrent_images_each_get_their_own_mask(serve_echo: Serve) -> None:
    async with serve_echo(max_batch_size=4) as client:
        answers = await asyncio.gather(*(post(client, plain_image(red, size=(30 + red, 40))) for red in range(20)))

    for red, answer in enumerate(answers):
        mask = indices(answer.content)
        assert mask.shape == (40, 30 + red)
        assert (mask == red).all()


@settings(max_examples=5, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    requests=st.lists(
        st.tuples(
            st.binary(max_size=60),
            st.sampled_from(["image/png", "multipart/form-data; boundary=b", "multipart/form-data", "image/x", ""]),
            st.sampled_from(["*/*", "image/png", "application/json", ";;", "a/b;q=x"]),
            st.dictionaries(st.sampled_from(["model", "format", "x"]), st.text(max_size=5)),
        ),
        min_size=20,
        max_size=40,
    )
)
async def test_no_request_makes_the_service_fail(
    serve_echo: Serve, requests: list[tuple[bytes, str, str, dict[str, str]]]
) -> None:
    async with serve_echo() as client:
        answers = [
            await client.post(
                "/segment", content=body, headers={"Content-Type": content_type, "Accept": accept}, params=query
            )
            for body, content_type, accept, query in requests
        ]
        after = await post(client, plain_image())

    assert all(400 <= answer.status_code < 500 for answer in answers)
    assert all(answer.json()["status"] == answer.status_code for answer in answers)
    assert after.status_code == 200
