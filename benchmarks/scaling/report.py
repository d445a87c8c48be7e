"""Tell how the service scales: a table for each part, what breaks first, the cost model and what to plan with."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from benchmarks.scaling.cost import CODEC_THREADS, Fit, busy_share, cost_model, memory_model, terms, throughput_error
from benchmarks.scaling.limits import limits
from benchmarks.scaling.points import OWN, PARTS
from benchmarks.scaling.results import Results, Seen, input_megapixels
from benchmarks.serving.images import MEGAPIXELS, photo_size
from benchmarks.serving.report import about_run, lay_out, spread

RATES = (1, 100, 10_000)
WORKLOADS = (
    ("256x256, network at 256 px", 0.256**2, input_megapixels(256, 256, is_small=True)),
    *((f"{size:g} MP", size, input_megapixels(*photo_size(size), is_small=False)) for size in MEGAPIXELS),
)
"""What is planned for: its name, and the megapixels of an image and of what the network sees of it."""

HEADROOM = 0.8
"""The share of what it can do that a replica is planned with."""

CLASSES = 21
NOT_MEASURED = "not measured"

Column = Callable[[Seen], Sequence[float]]
_COMMON: dict[str, tuple[Column, str]] = {
    "images/s": (lambda seen: seen.values("images_per_second"), ".1f"),
    "p50 s": (lambda seen: seen.values("answered_p50"), ".2f"),
    "p99 s": (lambda seen: seen.values("answered_p99"), ".2f"),
    "refused": (lambda seen: [share] if (share := seen.share(refused=True)) else [], ".2%"),
    "failed": (lambda seen: [share] if (share := seen.share(refused=False)) else [], ".2%"),
    "CPU ms/image": (lambda seen: seen.milliseconds("cpu_seconds"), ".0f"),
    "client's": (lambda seen: seen.milliseconds("client_cpu_seconds"), ".2f"),
    "peak MB": (lambda seen: [size / 1e6 for size in seen.values("peak_bytes")], ".0f"),
}
_OF_MODELS: dict[str, tuple[Column, str]] = {
    "ready after s": (lambda seen: seen.of_visits("ready_seconds"), ".1f"),
    "MB then": (lambda seen: [size / 1e6 for size in seen.of_visits("idle_bytes")], ".0f"),
    "each asked once, s": (lambda seen: seen.of_visits("models_seconds"), ".1f"),
}


def render(results: Results) -> str:
    """Give everything."""
    tables = [f"**{part}**\n\n{table(found, part)}" for part in PARTS if (found := results.seen(part))]
    rows = [row for row in OWN if any(seen.point.row == row for seen in results.seen("sizes"))]
    model = [models(results, rows), sizing(results, rows)] if rows else []
    return "\n\n".join([limits(results), *model, *tables, about_run(results.about)])


def table(found: Sequence[Seen], part: str) -> str:
    """Give what was found in a part, a line for each load."""
    columns = {**(_OF_MODELS if part == "models" else {}), **_COMMON}
    lines = []
    for seen in found:
        told = [spread(column(seen), form) for column, form in columns.values()]
        lines.append([f"`{seen.point.row}`", seen.point.name, str(seen.clients), *told])
    return lay_out(["server", part, "in work", *columns], lines)


def models(results: Results, rows: Sequence[str]) -> str:
    """Give the coefficients of the cost model, and how far off it is."""
    fits: list[tuple[str, str, Fit]] = []
    for row in rows:
        fits += [
            (row, "CPU ms/image", cost_model(results, row)),
            (row, "peak MB", memory_model(results, row)),
        ]
    lines = [
        [f"`{row}`", what, _sum(found), f"{found.worst_error:.0%}", str(found.num_points)] for row, what, found in fits
    ]
    busy = "; ".join(
        f"`{row}` {busy_share(results, row):.0%}, off by at most {throughput_error(results, row):.0%}" for row in rows
    )
    return (
        f"{lay_out(['server', 'what', 'is about', 'off by at most', 'fitted to loads'], lines)}\n\n"
        f"images/s = cores x 1000 / CPU ms x the share of the cores that is kept busy under load, the median: {busy}"
        " (of the loads of clients, sizes and classes with several images in work)."
    )


def sizing(results: Results, rows: Sequence[str]) -> str:
    """Give what to plan with, computed from the cost model."""
    cores = int(results.about["machine"]["cores"])
    head = ["server", "images", "CPU ms/image", "images/s a core", f"a replica of {cores} cores", "a GPU"]
    head += [f"replicas for {rate:,}/s" for rate in RATES] + ["MB a replica"]
    lines = []
    for row in rows:
        cost, memory, busy = cost_model(results, row), memory_model(results, row), busy_share(results, row)
        for name, megapixels, sees in WORKLOADS:
            values = terms(megapixels=megapixels, input_megapixels=sees, num_classes=CLASSES, in_work=CODEC_THREADS)
            milliseconds = cost.at(values)
            rate = 1000 / milliseconds * busy
            replicas = [f"{math.ceil(wanted / (HEADROOM * cores * rate)):,}" for wanted in RATES]
            cells = [f"{milliseconds:.0f}", f"{rate:.1f}", f"{cores * rate:.1f}", NOT_MEASURED, *replicas]
            lines.append([f"`{row}`", name, *cells, f"{memory.at(values):.0f}"])
    return (
        f"What to plan with, computed from the fitted model ({CLASSES} classes, a replica does {HEADROOM:.0%} of what"
        f" it can, and many do as many times as much):\n\n{lay_out(head, lines)}"
    )


def _sum(found: Fit) -> str:
    numbers = {name: format(value, ".0f" if value >= 100 else ".2g") for name, value in found.coefficients.items()}
    return " + ".join(number if name == "1" else f"{number} x {name}" for name, number in numbers.items())
