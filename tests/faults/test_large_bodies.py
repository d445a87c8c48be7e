"""Bodies of 70 MB where 32 MiB are allowed: what comes without a length is held up to the limit, and no further."""

import json
from collections.abc import Callable, Iterator

import httpx
import pytest

from tests.faults.clients import picture
from tests.faults.conftest import Tell
from tests.faults.server import Server

PIECE = bytes(1 << 20)
NUM_PIECES = 70
LIMIT = 32 << 20
SLACK = 16 << 20


@pytest.mark.parametrize(
    ("body", "allowed"),
    [
        pytest.param(lambda: bytes(len(PIECE) * NUM_PIECES), SLACK, id="its length is declared"),
        pytest.param(lambda: iter([PIECE] * NUM_PIECES), LIMIT + SLACK, id="it comes in chunks"),
    ],
)
def test_bodies_of_70_mb_are_refused_while_they_are_read(
    ordinary: Server, body: Callable[[], bytes | Iterator[bytes]], allowed: int, tell: Tell
) -> None:
    ordinary.post("/segment", picture(1))
    ordinary.forget_peak()
    before = ordinary.peak_bytes()

    answers = [
        httpx.post(f"{ordinary.url}/segment", content=body(), headers={"Content-Type": "image/png"}, timeout=30)
        for _ in range(3)
    ]

    grown = ordinary.peak_bytes() - before
    tell("peak grew by", f"{grown / (1 << 20):.1f} MiB")
    assert [answer.status_code for answer in answers] == [413] * 3
    assert {answer.headers["content-type"] for answer in answers} == {"application/problem+json"}
    assert json.loads(answers[0].content)["type"] == "urn:problem-type:segserve:body-too-large"
    assert grown < allowed
    assert ordinary.post("/segment", picture(1)).status_code == 200
