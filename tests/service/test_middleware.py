import json
import logging
from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import FastAPI, Query
from starlette.types import Receive, Scope, Send

from service.errors import QueueFull
from service.metrics import Metrics
from service.middleware import EarlyRefusal, RequestRecord
from service.problems import add_problem_handlers
from tests.service.conftest import Serve
from tests.service.fakes import plain_image

pytestmark = pytest.mark.anyio


def broken_app() -> FastAPI:
    app = FastAPI()

    @app.get("/broken")
    async def break_down() -> None:
        raise RuntimeError("/secret/path")

    @app.get("/number")
    async def number(n: int = Query()) -> int:
        return n

    add_problem_handlers(app)
    app.add_middleware(RequestRecord, metrics=Metrics())
    return app


@pytest.mark.parametrize("given", ["abc-123", "x" * 100, "~!"])
async def test_a_sane_request_id_is_taken(serve_echo: Serve, given: str) -> None:
    async with serve_echo() as client:
        answer = await client.get("/healthz", headers={"X-Request-ID": given})

    assert answer.headers["x-request-id"] == given


@pytest.mark.parametrize("given", ["", "x" * 129, "a b", "\x01", "é"])
async def test_an_odd_request_id_is_replaced(serve_echo: Serve, given: str) -> None:
    async with serve_echo() as client:
        answer = await client.get("/healthz", headers={b"X-Request-ID": given.encode()})

    assert answer.headers["x-request-id"] != given
    assert len(answer.headers["x-request-id"]) == 32


async def test_a_request_is_one_line_of_the_log(serve_echo: Serve, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "service.requests")

    async with serve_echo() as client:
        caplog.clear()
        await client.post("/segment", content=plain_image(), headers={"Content-Type": "image/png"})

    (record,) = [record for record in caplog.records if record.name == "service.requests"]
    fields = vars(record)
    assert (fields["method"], fields["path"], fields["status"], fields["model"]) == ("POST", "/segment", 200, "tiny")
    assert {"decode_ms", "queue_ms", "infer_ms", "encode_ms", "ms"} <= set(fields)


async def test_an_error_that_nobody_foresaw_is_a_500_without_secrets(caplog: pytest.LogCaptureFixture) -> None:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(broken_app()), base_url="http://test") as client:
        answer = await client.get("/broken", headers={"X-Request-ID": "r1"})

    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["request_id"] == "r1"
    assert "secret" not in answer.text
    assert "secret" in caplog.text


def guarded_app(refused: list[str | None]) -> FastAPI:
    app = FastAPI()

    @app.api_route("/segment", methods=["GET", "POST"])
    async def segment() -> str:
        return "let in"

    def check(model: str | None) -> None:
        if model in refused:
            raise QueueFull("24 images are in work, at most 24")

    app.add_middleware(EarlyRefusal, path="/segment", check=check)
    app.add_middleware(RequestRecord, metrics=Metrics())
    return app


@pytest.mark.parametrize("query", ["?model=busy", "?model=free&model=busy", "?format=png&model=b%75sy"])
async def test_a_request_for_a_busy_model_is_refused_before_its_body_is_read(query: str) -> None:
    async def body() -> AsyncIterator[bytes]:
        pytest.fail("the body was read")
        yield b""

    transport = httpx.ASGITransport(guarded_app(["busy"]))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        answer = await client.post(f"/segment{query}", content=body(), headers={"X-Request-ID": "r1"})

    assert (answer.status_code, answer.headers["retry-after"], answer.headers["x-request-id"]) == (503, "1", "r1")
    assert answer.json()["type"] == "urn:problem-type:segserve:queue-full"
    assert answer.json()["request_id"] == "r1"


async def test_a_request_that_names_no_model_is_refused_as_the_default_one_is() -> None:
    transport = httpx.ASGITransport(guarded_app([None]))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        answers = [
            await client.post("/segment"),
            await client.post("/segment?model=free"),
            await client.get("/segment"),
        ]

    assert [answer.status_code for answer in answers] == [503, 200, 200]


async def test_an_early_refusal_is_a_line_of_the_log_and_counted_for_its_route(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "service.requests")
    metrics = Metrics()

    async def refuse(scope: Scope, receive: Receive, send: Send) -> None:
        await EarlyRefusal(guarded_app([]), path="/segment", check=_always_full)(scope, receive, send)

    transport = httpx.ASGITransport(RequestRecord(refuse, metrics=metrics))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        await client.post("/segment")

    (record,) = [record for record in caplog.records if record.name == "service.requests"]
    assert (vars(record)["path"], vars(record)["status"]) == ("/segment", 503)
    assert b'segserve_requests_total{route="/segment",status="503"} 1.0' in metrics.expose()


def _always_full(_: str | None) -> None:
    raise QueueFull


async def test_the_frameworks_own_errors_are_problems(serve_echo: Serve) -> None:
    async with serve_echo() as client:
        unknown = await client.get("/nowhere")
        wrong_method = await client.put("/segment")

    assert (unknown.status_code, unknown.json()["title"]) == (404, "Not Found")
    assert (wrong_method.status_code, wrong_method.headers["allow"]) == (405, "POST")
    assert wrong_method.headers["content-type"] == "application/problem+json"


async def test_a_parameter_that_the_framework_refuses_is_named() -> None:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(broken_app()), base_url="http://test") as client:
        answer = await client.get("/number?n=many")

    assert answer.status_code == 422
    assert json.loads(answer.content)["detail"].startswith("query option n is 'many': ")
