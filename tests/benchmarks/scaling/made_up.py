"""Make up what points found."""

from __future__ import annotations

from typing import Any

from benchmarks.scaling.points import BEST, Point
from benchmarks.scaling.results import Results
from benchmarks.serving.rows import REFERENCE
from tests.benchmarks.serving.made_up import ABOUT, under_load, visit


def milliseconds(point: Point) -> float:
    """Give the CPU time of an image by a law that the fit should find."""
    return 20 + 10 * point.value if point.part == "sizes" else 20 + 10 * 0.2


def found(point: Point, *, refused: int = 0) -> dict[str, Any]:
    """Make up a visit in which every load took what the law says; of 100 requests so many were refused."""
    answered = 100 - refused
    loads: dict[str, Any] = {
        f"{clients} clients": {
            **under_load(20, failed=refused, clients=clients),
            "seconds": 5.0,
            "answered_p50": 0.1,
            "answered_p99": 0.2,
            "cpu_seconds": milliseconds(point) * answered / 1000,
            "peak_bytes": 1e6 * (400 + 100 * point.num_models),
        }
        for clients in point.clients
    }
    return {**visit(point.row, 1, **loads), "models_seconds": 2.0, "models_bytes": 5e8}


def results() -> Results:
    """Give a little of each part."""
    kept = Results(ABOUT)
    for row in (REFERENCE, BEST):
        kept.add(Point("clients", row, "default limits", 0, clients=(1, 8)), 1, found(_clients(row, (1, 8))))
        for size in (1, 4):
            point = Point("sizes", row, f"{size} MP", size, f"{size}mp", "default", (1, 4))
            kept.add(point, 1, found(point))
    crowd = _clients(REFERENCE, (128, 512))
    kept.add(crowd, 1, found(crowd, refused=90))
    for count in (1, 50):
        point = Point("models", REFERENCE, f"{count}", count, num_models=count)
        kept.add(point, 1, found(point))
    return kept


def _clients(row: str, clients: tuple[int, ...]) -> Point:
    return Point("clients", row, "default limits", 0, clients=clients)
