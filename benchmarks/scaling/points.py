"""Name what is measured: in each part one thing grows, and a point is one start of the service under some loads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from benchmarks.serving import images
from benchmarks.serving.rows import REFERENCE

BEST = "segserve-best"
OWN = (REFERENCE, BEST)
CLIENTS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
MANY_CLIENTS = (128, 256, 512)
CLASSES = (2, 21, 60, 151)
MODELS = (1, 2, 5, 10, 20, 50)
MOST_MODELS = MODELS[-1]

UNLIMITED = {"max_in_flight": "1024", "request_timeout": "120"}
LARGE = {"max_image_pixels": "51000000"}
ONE_THREAD = {"device": "cpu", "torch_threads": "1"}
TWO_THREADS = {"device": "cpu", "torch_threads": "2"}
TWO_DEVICES = {"device": "cpu:0,cpu:1", "torch_threads": "1"}


@dataclass(frozen=True, slots=True)
class Point:
    """Say what is started and what it is asked; ``name`` is told in tables, ``value`` is what grows in this part."""

    part: str
    row: str
    name: str
    value: float
    images: str = "256"
    network: str = "default-256"
    clients: Sequence[int] = (8,)
    settings: Mapping[str, str] = field(default_factory=dict)
    num_models: int = 1
    cores: Sequence[str] = ()


def points(parts: Sequence[str]) -> Iterator[Point]:
    """Give the points of some parts, in the order of ``PARTS``."""
    for part, its_points in PARTS.items():
        if part in parts:
            yield from its_points()


def _clients() -> Iterator[Point]:
    for row in OWN:
        yield Point("clients", row, "default limits", 0, clients=CLIENTS)
        yield Point("clients", row, "all let in", 0, clients=MANY_CLIENTS, settings=UNLIMITED)
    yield Point("clients", REFERENCE, "12 MP, default limits", 0, "12mp", "default", clients=(1, 4, 16, 32))


def _sizes() -> Iterator[Point]:
    for row in OWN:
        for size in images.MEGAPIXELS:
            settings = LARGE if size > 25 else {}
            yield Point("sizes", row, f"{size:g} MP", size, f"{size:g}mp", "default", (1, 4), settings)
        for size in (0.2, 4):
            yield Point("sizes", row, f"{size:g} MP, network at 256 px", size, f"{size:g}mp", clients=(1, 4))
    yield Point("sizes", REFERENCE, "50 MP, default limits", 50, "50mp", "default", (1,))


def _classes() -> Iterator[Point]:
    for row in OWN:
        for count in CLASSES:
            for size in (0.2, 4):
                name = f"{count} classes, {size:g} MP"
                yield Point("classes", row, name, count, f"{size:g}mp", f"classes-{count}", (4,))


def _models() -> Iterator[Point]:
    for count in MODELS:
        yield Point("models", REFERENCE, f"{count}", count, num_models=count)
    lazy = {"loading": "lazy"}
    yield Point("models", REFERENCE, f"{MOST_MODELS}, lazy", MOST_MODELS, settings=lazy, num_models=MOST_MODELS)
    tight = {**lazy, "memory_budget_bytes": "500000000"}
    yield Point(
        "models", REFERENCE, f"{MOST_MODELS}, lazy, 500 MB", MOST_MODELS, settings=tight, num_models=MOST_MODELS
    )


def _cores() -> Iterator[Point]:
    for row in OWN:
        for count, cores in ((1, "0"), (2, "0,1")):
            settings = ONE_THREAD if count == 1 else TWO_DEVICES if row == BEST else TWO_THREADS
            yield Point("cores", row, f"{count}", count, settings=settings, cores=(cores,))


def _replicas() -> Iterator[Point]:
    for row in OWN:
        yield Point("replicas", row, "1 of two threads", 1, settings=TWO_THREADS, cores=("0,1",))
        yield Point("replicas", row, "1 of two devices", 1, settings=TWO_DEVICES, cores=("0,1",))
        yield Point("replicas", row, "2 of one thread", 2, settings=ONE_THREAD, cores=("0,1", "0,1"))
        yield Point("replicas", row, "2 of one thread, a core each", 2, settings=ONE_THREAD, cores=("0", "1"))


PARTS = {
    "clients": _clients,
    "sizes": _sizes,
    "classes": _classes,
    "models": _models,
    "cores": _cores,
    "replicas": _replicas,
}
