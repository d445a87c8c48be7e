"""Make up results of servers."""

from __future__ import annotations

from typing import Any

NAMES = {"eight": "8 clients", "share": "80% of capacity"}
"""What loads are called in results, by the names that they have here."""

ABOUT: dict[str, Any] = {
    "command": "python -m benchmarks.serve",
    "date": "2026-11-29T00:00:00+00:00",
    "commit": "abc",
    "is_changed": False,
    "machine": {"cpu": "a processor", "cores": "2", "python": "3.11", "torch": "2"},
    "servers": {
        "segserve": {"python": "3.11", "segserve": "0.1.0", "settings": {}},
        "segserve-best": {"python": "3.11", "segserve": "0.1.0", "settings": {"precision": "bfloat16"}},
        "plain": {"python": "3.11", "fastapi": "0.165", "settings": {}},
    },
}


def under_load(rate: float, *, p99: float | None = 0.2, failed: int = 0, clients: int | None = 8) -> dict[str, Any]:
    """Make up what a load found; of 100 pictures so many failed."""
    return {
        "clients": clients,
        "images_per_second": rate,
        "answered": 100 - failed,
        "failures": {"status 503": failed} if failed else {},
        "p50": 0.1,
        "p99": p99,
        "cpu_seconds": 4.0,
        "client_cpu_seconds": 0.02,
        "peak_bytes": 500e6,
        "num_processes": 1,
    }


def visit(row: str, number: int, *, agreement: float | None = None, **loads: Any) -> dict[str, Any]:  # noqa: ANN401
    """Make up a visit."""
    return {
        "row": row,
        "round": number,
        "ready_seconds": 2.0,
        "mask_seconds": 2.5,
        "idle_bytes": 400e6,
        "num_processes": 1,
        "agreement": agreement,
        "error": None,
        "loads": {NAMES.get(name, name): found for name, found in loads.items()},
    }
