"""Tell of the times of stages, and of the roofline, in tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.serving.report import about_run, lay_out, spread


def render(found: Mapping[str, Any]) -> str:
    """Give all tables and what they depend on."""
    parts = [
        tell(found[part]) for part, tell in (("stages", stages), ("http", http), ("roofline", roofline)) if found[part]
    ]
    return "\n\n".join([*parts, about_run(found["about"])])


def stages(found: Mapping[str, Mapping[str, Mapping[str, list[float]]]]) -> str:
    """Give ms an image of every stage and what it is held against, for each set of pictures."""
    first = next(iter(found.values()))
    lines = []
    for stage, works in first.items():
        for what in works:
            cells = [spread(found[kind][stage][what], ".2f") for kind in found]
            lines.append([stage if what == "service" else "", what, *cells])
            if what != "service":
                ratios = [
                    spread(_ratios(found[kind][stage]["service"], found[kind][stage][what]), ".2f") for kind in found
                ]
                lines.append(["", f"service / {what}", *ratios])
    return lay_out(["stage", "ms an image", *(f"`{kind}`" for kind in found)], lines)


def http(rounds: list[Mapping[str, Mapping[str, Mapping[str, Any]]]]) -> str:
    """Give what a request costs that has next to nothing behind it."""
    head = ["request", "clients", "requests/s", "p50 ms", "CPU ms", "client's CPU ms"]
    lines = []
    for kind in rounds[0]:
        for load in rounds[0][kind]:
            seen = [one[kind][load] for one in rounds if one[kind][load].get("answered")]
            lines.append(
                [
                    kind,
                    load.split()[0],
                    spread([one["images_per_second"] for one in seen], ".0f"),
                    spread([1000 * one["p50"] for one in seen if one["p50"] is not None], ".2f"),
                    spread([1000 * one["cpu_seconds"] / one["answered"] for one in seen], ".2f"),
                    spread([1000 * one["client_cpu_seconds"] / one["answered"] for one in seen], ".2f"),
                ]
            )
    return lay_out(head, lines)


def roofline(rounds: list[Mapping[str, Any]]) -> str:
    """Give images/s of the service over those of the bare network, round by round."""
    keys = list(dict.fromkeys((one["images"], one["row"]) for one in rounds))
    sizes = list(rounds[0]["bare"])
    head = ["pictures", "server", *(f"bare, {size}" for size in sizes), "service", "service / best bare", "failed"]
    lines = []
    for kind, row in keys:
        seen = [one for one in rounds if (one["images"], one["row"]) == (kind, row)]
        loads: list[Mapping[str, Any]] = [
            next(iter(one["visit"]["loads"].values()), {"images_per_second": 0.0}) for one in seen
        ]
        served = [load["images_per_second"] for load in loads]
        best = [max(one["bare"].values()) for one in seen]
        failed = sum(sum(load.get("failures", {}).values()) for load in loads)
        bare = [spread([one["bare"][size] for one in seen], ".1f") for size in sizes]
        lines.append(
            [f"`{kind}`", f"`{row}`", *bare, spread(served, ".1f"), spread(_ratios(served, best), ".3f"), str(failed)]
        )
    return lay_out(head, lines)


def _ratios(first: list[float], second: list[float]) -> list[float]:
    return [one / other for one, other in zip(first, second, strict=True) if other]
