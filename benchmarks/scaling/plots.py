"""Draw how the service scales as one SVG: a row of panels for each part, a line for each series, dashed where fitted.

Sizes are in the units of the drawing; colours are told in the file itself, so that it is the same wherever it is shown.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from statistics import median
from xml.etree.ElementTree import Element

from benchmarks.scaling.cost import Fit, cost_model, memory_model, terms_of
from benchmarks.scaling.points import OWN
from benchmarks.scaling.results import Results, Seen
from training.report_page.curves import Point, ticks
from training.report_page.markup import drawing, extend, svg_file, tag

PANEL_WIDTH, PANEL_HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 250, 190, 44, 14, 44, 24
COLORS = ("#1f6feb", "#d9580d", "#1a7f37", "#8250df")
INK, RULE, PAPER = "#57606a", "#d9dee4", "#ffffff"
FITTED = {"CPU ms/image": ("sizes", "classes"), "peak MB": ("sizes", "models")}

_METRICS: Mapping[str, Callable[[Seen], float]] = {
    "images/s": lambda seen: seen.value("images_per_second"),
    "p99 s of those answered": lambda seen: seen.value("answered_p99"),
    "CPU ms/image": lambda seen: median(seen.milliseconds("cpu_seconds")),
    "peak MB": lambda seen: seen.value("peak_bytes") / 1e6,
}
_PARTS: Mapping[str, Callable[[Seen], str | None]] = {
    "clients": lambda seen: f"{seen.point.row}, {seen.point.name}" if seen.point.images == "256" else None,
    "sizes": lambda seen: f"{seen.point.row}, {_clients(seen)}" if seen.point.network == "default" else None,
    "classes": lambda seen: f"{seen.point.row}, {seen.megapixels:g} MP",
    "models": lambda seen: seen.point.row if seen.is_eager else None,
    "cores": lambda seen: seen.point.row,
}
"""How series are named in each part; loads without a name are left to the tables."""

_ACROSS = {"sizes": "MP"}

Series = Mapping[str, Sequence[Seen]]


def draw(results: Results) -> bytes:
    """Draw all parts of which something was found."""
    parts = {part: series for part in _PARTS if (series := _series(results, part))}
    width, height = PANEL_WIDTH * len(_METRICS), PANEL_HEIGHT * len(parts)
    picture = drawing(width, height, font_size=11, paper=PAPER)
    costs = {row: cost_model(results, row) for row in OWN} if "sizes" in parts else {}
    memories = {row: memory_model(results, row) for row in OWN} if "sizes" in parts else {}
    for line, (part, series) in enumerate(parts.items()):
        picture.append(_legend(part, list(series), top=line * PANEL_HEIGHT))
        for column, (metric, value) in enumerate(_METRICS.items()):
            fits = {} if part not in FITTED.get(metric, ()) else memories if metric == "peak MB" else costs
            curves = {name: _points(loads, part, value) for name, loads in series.items()}
            dashed = {name: _points(loads, part, _prediction(fits)) for name, loads in series.items()} if fits else {}
            picture.append(_panel(metric, curves, dashed, (column * PANEL_WIDTH, line * PANEL_HEIGHT)))
    return svg_file(picture)


def _series(results: Results, part: str) -> Series:
    series: dict[str, list[Seen]] = {}
    for seen in results.seen(part):
        if (name := _PARTS[part](seen)) and not seen.share(refused=False):
            series.setdefault(name, []).append(seen)
    return series


def _points(loads: Sequence[Seen], part: str, value: Callable[[Seen], float]) -> list[Point]:
    return [(seen.clients if part == "clients" else seen.point.value, value(seen)) for seen in loads]


def _prediction(fits: Mapping[str, Fit]) -> Callable[[Seen], float]:
    return lambda seen: fits[seen.point.row].at(terms_of(seen))


def _legend(part: str, names: Sequence[str], *, top: float) -> Element:
    title = f"{part} ({_ACROSS[part]})" if part in _ACROSS else part
    legend = tag("g", tag("text", title, x=10, y=top + 16, fill=INK, font_weight="bold", font_size=13))
    for number, name in enumerate(names):
        x, y = 170 + 205 * number, top + 12
        extend(
            legend,
            tag("line", x1=x, x2=x + 20, y1=y, y2=y, stroke=COLORS[number], stroke_width=2),
            tag("text", name, x=x + 26, y=y + 4, fill=INK),
        )
    return legend


def _panel(
    title: str, curves: Mapping[str, Sequence[Point]], dashed: Mapping[str, Sequence[Point]], corner: Point
) -> Element:
    (left, top), values = corner, sorted({x for curve in curves.values() for x, _ in curve})
    up = ticks(0, max(y for curve in (*curves.values(), *dashed.values()) for _, y in curve))
    width, height = PANEL_WIDTH - LEFT - RIGHT, PANEL_HEIGHT - TOP - BOTTOM

    def place(x: float, y: float) -> Point:
        share = math.log(x / values[0]) / math.log(values[-1] / values[0]) if values[-1] > values[0] else 0.5
        return left + LEFT + width * share, top + TOP + height * (1 - y / up[-1])

    panel = tag("g", tag("text", title, x=left + LEFT, y=top + TOP - 8, fill=INK))
    for value in up:
        (start, y), (end, _) = place(values[0], value), place(values[-1], value)
        extend(
            panel,
            tag("line", x1=start, x2=end, y1=y, y2=y, stroke=RULE),
            tag("text", f"{value:g}", x=start - 5, y=y + 4, fill=INK, text_anchor="end"),
        )
    free = -math.inf
    for value in values:
        x, y = place(value, 0)
        if x - free > 24:
            panel.append(tag("text", f"{value:g}", x=x, y=y + 15, fill=INK, text_anchor="middle"))
            free = x
    for number, name in enumerate(curves):
        if name in dashed:
            panel.append(_line([place(*point) for point in dashed[name]], number, dash="3 3"))
        points = [place(*point) for point in curves[name]]
        extend(panel, _line(points, number), *(tag("circle", cx=x, cy=y, r=2, fill=COLORS[number]) for x, y in points))
    return panel


def _line(points: Sequence[Point], number: int, *, dash: str = "none") -> Element:
    return tag(
        "polyline",
        points=" ".join(f"{x:.1f},{y:.1f}" for x, y in points),
        fill="none",
        stroke=COLORS[number],
        stroke_width=1.5,
        stroke_dasharray=dash,
    )


def _clients(seen: Seen) -> str:
    return "1 client" if seen.clients == 1 else f"{seen.clients} clients"
