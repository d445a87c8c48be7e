import logging
import re
from itertools import pairwise

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from service.tracing import make_recorder
from tests.service.conftest import Serve
from tests.service.fakes import plain_image

pytestmark = pytest.mark.anyio

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
HEADERS = {"traceparent": f"00-{TRACE}-{PARENT}-01", "X-Request-ID": "mine"}


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def provider(exporter: InMemorySpanExporter) -> TracerProvider:
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return provider


async def test_a_request_is_a_span_with_its_stages_in_the_callers_trace(
    serve_echo: Serve, exporter: InMemorySpanExporter, provider: TracerProvider
) -> None:
    async with serve_echo(recorder=make_recorder(provider)) as client:
        exporter.clear()
        await client.post("/segment", content=plain_image(), headers=HEADERS)

    *stages, request = exporter.get_finished_spans()
    assert request.name == "POST /segment"
    assert request.attributes == {"request.id": "mine", "http.response.status_code": 200}
    assert request.parent is not None
    assert (f"{request.context.trace_id:032x}", f"{request.parent.span_id:016x}") == (TRACE, PARENT)
    assert [stage.name for stage in stages] == ["decode", "queue", "infer", "encode"]
    assert all(stage.parent is not None and stage.parent.span_id == request.context.span_id for stage in stages)
    times = [request.start_time, *(stage.start_time for stage in stages), stages[-1].end_time, request.end_time]
    known = [moment for moment in times if moment is not None]
    assert len(known) == 7
    assert all(one <= other + 1e6 for one, other in pairwise(known))


async def test_a_refused_request_is_a_span_without_stages(
    serve_echo: Serve, exporter: InMemorySpanExporter, provider: TracerProvider
) -> None:
    async with serve_echo(recorder=make_recorder(provider)) as client:
        exporter.clear()
        await client.post("/segment", content=b"x", headers={"traceparent": "rubbish"})

    (request,) = exporter.get_finished_spans()
    assert request.attributes is not None
    assert (request.attributes["http.response.status_code"], request.parent) == (422, None)


async def test_log_line_spans_and_metrics_share_the_request_id(
    serve_echo: Serve, exporter: InMemorySpanExporter, provider: TracerProvider, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        async with serve_echo(recorder=make_recorder(provider)) as client:
            answer = await client.post("/segment", content=plain_image(), headers={"X-Request-ID": "mine"})
            metrics = (await client.get("/metrics", headers={"Accept": "application/openmetrics-text"})).text

    assert answer.headers["x-request-id"] == "mine"
    assert "mine" in {span.attributes["request.id"] for span in exporter.get_finished_spans() if span.attributes}
    bucket = r'segserve_request_seconds_bucket\{le="\S+",route="/segment"\} \S+ # \{request_id="(\S+)"\}'
    exemplars = re.findall(bucket, metrics)
    assert exemplars == ["mine"]
