"""Count and time what the service does, for Prometheus; every label's values are a closed set."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.openmetrics import exposition as openmetrics

CONTENT_TYPE = CONTENT_TYPE_LATEST
OPEN_CONTENT_TYPE = openmetrics.CONTENT_TYPE_LATEST
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_IMAGES = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """Hold the collectors of one app.

    Labels: ``route`` is a template or ``unmatched``, ``status`` an HTTP status, ``model`` a served model's name,
    ``label`` the name of a class, ``problem`` the slug of an error, ``outcome`` one of these or ``ok``, ``stage`` one
    of decode, queue, infer, encode, ``reason`` one of evicted, idle, replaced, removed, asked, ``kind`` one of weights,
    peak; there ``model`` is ``name@version``.
    """

    def __init__(self) -> None:
        registry = CollectorRegistry()
        self._registry = registry
        self.requests = Counter("segserve_requests_total", "requests answered", ["route", "status"], registry=registry)
        self.request_seconds = Histogram(
            "segserve_request_seconds", "time from a request's head to the end of its answer", ["route"],
            buckets=_SECONDS, registry=registry,
        )  # fmt: skip
        self.images = Counter(
            "segserve_images_total", "images taken in, by what became of them", ["model", "outcome"], registry=registry
        )
        self.in_flight = Gauge("segserve_in_flight", "images in work", ["model"], registry=registry)
        self.visitors = Gauge(
            "segserve_visitors", "requests from head to answer, bodies that still arrive included", ["model"],
            registry=registry,
        )  # fmt: skip
        self.waiting = Gauge("segserve_queue_images", "images that wait for a device", ["model"], registry=registry)
        self.problems = Counter(
            "segserve_problems_total", "requests answered with a problem, by its kind", ["problem"], registry=registry
        )
        self.class_pixels = Counter(
            "segserve_class_pixels_total", "pixels of each class in the masks, estimated from a grid of them",
            ["model", "label"], registry=registry,
        )  # fmt: skip
        self.forwarded = Counter(
            "segserve_images_forwarded_total", "images that reached the device", ["model"], registry=registry
        )
        self.batch_size = Histogram(
            "segserve_batch_size", "images in a forward pass", ["model"], buckets=_IMAGES, registry=registry
        )
        self.stage_seconds = Histogram(
            "segserve_stage_seconds", "time that an image spent in a stage", ["model", "stage"],
            buckets=_SECONDS, registry=registry,
        )  # fmt: skip
        self.out_of_memory = Counter(
            "segserve_out_of_memory_total", "forward passes that the device had no memory for", ["model"],
            registry=registry,
        )  # fmt: skip
        self.loads = Counter(
            "segserve_model_loads_total", "models brought into memory, by how it ended", ["model", "outcome"],
            registry=registry,
        )  # fmt: skip
        self.swaps = Counter(
            "segserve_model_swaps_total", "checkpoints replaced while serving, by how it ended", ["model", "outcome"],
            registry=registry,
        )  # fmt: skip
        self.unloads = Counter(
            "segserve_model_unloads_total", "models taken out of memory, by the reason", ["model", "reason"],
            registry=registry,
        )  # fmt: skip
        self.model_bytes = Gauge(
            "segserve_model_bytes", "memory that a model holds on each device", ["model", "kind"], registry=registry
        )
        self.memory_budget_bytes = Gauge(
            "segserve_memory_budget_bytes", "memory that the models may hold on each device", registry=registry
        )
        self.device_bytes = Gauge(
            "segserve_device_bytes", "memory of a GPU that torch uses, and that it keeps for later", ["device", "kind"],
            registry=registry,
        )  # fmt: skip
        ProcessCollector(registry=registry)

    def expose(self) -> bytes:
        """Give all values in Prometheus' text format."""
        return generate_latest(self._registry)

    def expose_open(self) -> bytes:
        """Give all values as OpenMetrics, which has room for the ids of requests."""
        return bytes(openmetrics.generate_latest(self._registry))  # type: ignore[no-untyped-call]  # it has no types
