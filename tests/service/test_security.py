import hashlib
import logging

import httpx
import pytest
from pydantic import SecretStr

from service.middleware import PROBES
from tests.service.conftest import Serve
from tests.service.fakes import plain_image

pytestmark = pytest.mark.anyio

KEY = "the key of ann"
KEYS = SecretStr(f"ann {hashlib.sha256(KEY.encode()).hexdigest()};bob {'0' * 64} 1")
BEARER = {"Authorization": f"Bearer {KEY}"}
TOKEN = SecretStr("an admin's own token")


@pytest.mark.parametrize("headers", [BEARER, {"Authorization": f"bearer  {KEY} "}, {"X-API-Key": KEY}])
async def test_a_key_opens(serve_echo: Serve, headers: dict[str, str]) -> None:
    async with serve_echo(api_keys=KEYS) as client:
        answer = await client.post("/segment", content=plain_image(), headers=headers)

    assert answer.status_code == 200


@pytest.mark.parametrize(
    "headers", [{}, {"Authorization": f"Basic {KEY}"}, {"X-API-Key": "guess"}, {"X-API-Key": KEY[:-1]}]
)
@pytest.mark.parametrize(
    "path", ["/segment", "/models", "/metrics", "/docs", "/openapi.json", "/v2/models/tiny", "/nowhere"]
)
async def test_nothing_but_probes_opens_without(serve_echo: Serve, path: str, headers: dict[str, str]) -> None:
    async with serve_echo(api_keys=KEYS) as client:
        answer = await client.get(path, headers=headers)

    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert "guess" not in answer.text


@pytest.mark.parametrize("path", sorted(PROBES))
async def test_probes_need_no_key(serve_echo: Serve, path: str) -> None:
    async with serve_echo(api_keys=KEYS) as client:
        answer = await client.get(path)

    assert answer.status_code == 200


async def test_what_needs_the_admin_token_needs_it_and_no_key(serve_echo: Serve) -> None:
    async with serve_echo(api_keys=KEYS, admin_token=TOKEN) as client:
        with_key = await client.post("/models/tiny/load", headers=BEARER)
        with_token = await client.post(
            "/models/tiny/load", headers={"Authorization": f"Bearer {TOKEN.get_secret_value()}"}
        )

    assert (with_key.status_code, with_token.status_code) == (401, 200)


async def test_a_key_that_asks_too_often_is_told_when_to_come_again(serve_echo: Serve) -> None:
    async with serve_echo(api_keys=KEYS, api_key_rate=1.0) as client:
        answers = [await client.get("/models", headers=BEARER) for _ in range(3)]

    assert [answer.status_code for answer in answers][0::2] == [200, 429]
    assert answers[2].headers["retry-after"] == "1"
    assert answers[2].json()["type"] == "urn:problem-type:segserve:rate-limited"


async def test_the_log_names_the_key_and_never_holds_it(serve_echo: Serve, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        async with serve_echo(api_keys=KEYS) as client:
            await client.post("/segment", content=plain_image(), headers=BEARER)
            await client.post("/segment", content=plain_image(), headers={"X-API-Key": "guess"})

    requests = [vars(record) for record in caplog.records if record.name == "service.requests"]
    assert [record.get("key") for record in requests if record["path"] == "/segment"] == ["ann", None]
    assert all(KEY not in str(vars(record)) and "guess" not in str(vars(record)) for record in caplog.records)


@pytest.mark.parametrize("path", ["/models", "/docs", "/nowhere", "/metrics"])
async def test_every_answer_has_security_headers(serve_echo: Serve, path: str) -> None:
    async with serve_echo() as client:
        headers = (await client.get(path)).headers

    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cache-control"] == "no-store"


async def test_no_page_of_another_origin_may_ask_unless_it_is_named(serve_echo: Serve) -> None:
    page = {"Origin": "https://example.org"}
    preflight = {**page, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "X-API-Key"}

    async with serve_echo() as client:
        closed = [await client.get("/models", headers=page), await client.options("/segment", headers=preflight)]
    async with serve_echo(cors_origins="https://example.org, https://example.com", api_keys=KEYS) as client:
        opened = [
            await client.get("/models", headers={**page, **BEARER}),
            await client.options("/segment", headers=preflight),
        ]
        stranger = await client.get("/models", headers={"Origin": "https://example.net", **BEARER})

    assert all("access-control-allow-origin" not in answer.headers for answer in (*closed, stranger))
    assert [answer.headers["access-control-allow-origin"] for answer in opened] == ["https://example.org"] * 2
    assert [answer.status_code for answer in opened] == [200, 200]


async def test_a_problem_is_named_in_metrics_and_log(serve_echo: Serve, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        async with serve_echo(api_keys=KEYS) as client:
            await client.get("/models")
            await client.post("/segment", content=b"x", headers=BEARER)
            metrics = (await client.get("/metrics", headers=BEARER)).text

    assert 'segserve_problems_total{problem="unauthorized"} 1.0' in metrics
    assert 'segserve_problems_total{problem="unreadable-image"} 1.0' in metrics
    requests = [vars(record) for record in caplog.records if record.name == "service.requests"]
    assert [record["problem"] for record in requests if "problem" in record] == ["unauthorized", "unreadable-image"]


async def test_odd_requests_make_no_new_series(serve_echo: Serve) -> None:
    async with serve_echo() as client:

        async def num_series() -> int:
            text = (await client.get("/metrics")).text
            return sum(not line.startswith("#") for line in text.splitlines())

        for i in range(20):
            await odd_request(client, i)
        await num_series()  # which is counted, too
        before = await num_series()
        for i in range(20, 1020):
            await odd_request(client, i)

        assert await num_series() == before


async def odd_request(client: httpx.AsyncClient, number: int) -> None:
    """Ask for what nobody has ever asked for."""
    paths = (
        "/nowhere/{}", "/models/{}", "/segment?model={}", "/v2/models/{}/infer", "/segment?format={}",
        "/models/{}/load",
    )  # fmt: skip
    method = ("GET", "POST", "PUT", f"ODD{number}")[number % 4]
    await client.request(method, paths[number % 6].format(f"x{number}"), headers={"X-Request-ID": f"id{number}"})
