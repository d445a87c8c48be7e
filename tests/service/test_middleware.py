import json
import logging

import httpx
import pytest
from fastapi import FastAPI, Query

from service.metrics import Metrics
from service.middleware import RequestRecord
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


@pytest.mark.parametrize("given", ["abc-123", "x" * 128, "~!"])
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
    assert json.loads(answer.content)["detail"].startswith("query n: ")
