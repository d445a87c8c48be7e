"""Whatever stands in the headers and the query of a request, it gets a mask or a problem that is documented."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.faults.clients import picture
from tests.faults.server import Server

DOCUMENTED = {200, 404, 406, 408, 413, 415, 422, 503, 504}

LATIN = st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_categories=["Cc"]), max_size=80)
VALUES = {
    "Accept": ["image/png", "application/json", "text/html", "*/*;q=0", "image/*;q=nan", "*/*;q=-1", ";;,,q"],
    "Content-Type": ["image/png", "image/gif", "multipart/form-data", "multipart/form-data; boundary=x", "image/png;"],
    "X-Request-ID": ["abc", "x" * 500, "a b"],
    "X-Request-Timeout": ["5", "0", "-1", "nan", "inf", "1e400", "0.001", "1,5", "0x10", "1_0"],
    "X-Priority": ["interactive", "bulk", "BULK", "0"],
}
HEADERS = st.fixed_dictionaries(
    {}, optional={name: st.sampled_from(known) | LATIN.map(str.strip) for name, known in VALUES.items()}
)
QUERY = st.fixed_dictionaries(
    {},
    optional={
        "model": st.sampled_from(["tiny", "tiny@1", "tiny@", "@1", "@", "tiny@9", "../tiny"]) | st.text(max_size=40),
        "format": st.sampled_from(["png", "rle", "overlay", "PNG"]) | st.text(max_size=40),
        "x": st.text(max_size=10),
    },
)


@pytest.fixture(scope="module")
def client(ordinary: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=ordinary.url, timeout=30) as connected:
        yield connected


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
@given(headers=HEADERS, query=QUERY)
@example(headers={"X-Request-Timeout": "nan"}, query={})
@example(headers={"X-Request-Timeout": "1e400"}, query={})
@example(headers={"Accept": "*/*;q=nan"}, query={})
@example(headers={"Content-Type": "multipart/form-data"}, query={"model": "tiny@"})
def test_any_headers_and_query_get_a_mask_or_a_documented_problem(
    client: httpx.Client, headers: dict[str, str], query: dict[str, str]
) -> None:
    fields = {"Content-Type": "image/png", **headers}
    encoded = [(name.encode(), value.encode("latin-1")) for name, value in fields.items()]

    answer = client.post("/segment", params=query, headers=encoded, content=picture(1))

    assert answer.status_code in DOCUMENTED
    assert is_mask(answer) or problem_status(answer) == answer.status_code


def is_mask(answer: httpx.Response) -> bool:
    return answer.status_code == 200 and answer.headers["content-type"] in {"image/png", "application/json"}


def problem_status(answer: httpx.Response) -> int:
    assert answer.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = json.loads(answer.content)
    assert problem["type"].startswith("urn:problem-type:segserve:")
    assert problem["title"]
    assert problem["detail"]
    return int(problem["status"])
