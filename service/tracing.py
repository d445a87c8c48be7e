"""Tell a collector of OpenTelemetry where the time of each request went; where it is, the OTEL_* variables say.

Spans are made when a request is over, from the times that were taken anyway: a request costs nothing while it runs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from service.settings import BadSetting

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

_PARENT_HEADERS = ("traceparent", "tracestate")


@dataclass(frozen=True, slots=True)
class Stage:
    """Hold a part of a request's way: its name, and when it began and ended by ``time.monotonic``."""

    name: str
    started: float
    ended: float


@dataclass(frozen=True, slots=True)
class Journey:
    """Hold what became of a request; ``headers`` may name the span that it belongs to (W3C Trace Context)."""

    name: str
    request_id: str
    status: int | None
    started: float
    ended: float
    headers: Mapping[str, str] = field(default_factory=dict)
    stages: Sequence[Stage] = ()


Recorder = Callable[[Journey], None]


def make_recorder(provider: TracerProvider | None = None) -> Recorder:
    """Give what sends the spans of a request: to ``provider``, or to a collector.

    Raises:
        BadSetting: OpenTelemetry is not installed.
    """
    try:
        from opentelemetry.trace import SpanKind, set_span_in_context  # noqa: PLC0415  # an extra
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator  # noqa: PLC0415

        tracer = (provider or _collecting()).get_tracer("segserve")
    except ImportError as error:
        raise BadSetting("bad setting tracing=true: it needs pip install 'segserve[tracing]'") from error
    propagator = TraceContextTextMapPropagator()

    def record(journey: Journey) -> None:
        named = {name: journey.headers[name] for name in _PARENT_HEADERS if name in journey.headers}
        parent = propagator.extract(named)
        attributes: dict[str, str | int] = {"request.id": journey.request_id}
        if journey.status is not None:
            attributes["http.response.status_code"] = journey.status
        span = tracer.start_span(
            journey.name, parent, kind=SpanKind.SERVER, attributes=attributes, start_time=_epoch_ns(journey.started)
        )
        for stage in journey.stages:
            inner = tracer.start_span(stage.name, set_span_in_context(span), start_time=_epoch_ns(stage.started))
            inner.end(_epoch_ns(stage.ended))
        span.end(_epoch_ns(journey.ended))

    return record


def _collecting() -> TracerProvider:
    """Give a provider that sends spans over HTTP, in the background."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415  # an extra
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

    provider = TracerProvider(resource=Resource.create({"service.name": "segserve"}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider


def _epoch_ns(monotonic: float) -> int:
    """Give a time of the monotonic clock as nanoseconds since 1970."""
    return round((time.time() - time.monotonic() + monotonic) * 1e9)
