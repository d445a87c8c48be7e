"""Draw the curves of a section as one SVG: the training loss and the mIoU over steps, a line for each row.

Sizes are in the units of the drawing. Colours are told in the file itself, so that it is the same wherever it is shown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from xml.etree.ElementTree import Element

from benchmarks.reproductions.results import Results
from benchmarks.reproductions.suites import Row
from training.report_page.curves import Point, ticks
from training.report_page.markup import drawing, extend, svg_file, tag

PANEL_WIDTH, PANEL_HEIGHT = 400, 260
LEFT, RIGHT, TOP, BOTTOM = 46, 14, 30, 40
LEGEND_LINE = 18
COLORS = ("#1f6feb", "#d9580d", "#1a7f37", "#8250df", "#bf3989", "#9a6700", "#0e7490", "#57606a")
DASHES = ("", "6 3", "2 3")
INK, RULE, PAPER = "#57606a", "#d9dee4", "#ffffff"

MIN_POINTS = 2
"""How many points a line needs."""

Curve = Sequence[Point]


def draw_section(results: Results, rows: Sequence[Row]) -> bytes | None:
    """Draw the curves of these rows, each the mean over its seeds; None where none has two points."""
    losses = {row.name: mean_curve(results, row, place=1) for row in rows}
    mious = {row.name: mean_curve(results, row, place=2) for row in rows}
    names = [name for name in losses if losses[name]]
    if all(len(curve) < MIN_POINTS for curve in (*losses.values(), *mious.values())):
        return None
    height = PANEL_HEIGHT + LEGEND_LINE * -(-len(names) // 3) + 8
    picture = drawing(2 * PANEL_WIDTH, height, font_size=12, paper=PAPER)
    for column, (title, curves) in enumerate((("training loss", losses), ("validation mIoU", mious))):
        picture.append(_panel(title, {name: curves[name] for name in names}, left=column * PANEL_WIDTH))
    for number, name in enumerate(names):
        line, column = divmod(number, 3)
        x, y = LEFT + column * 250, PANEL_HEIGHT + LEGEND_LINE * (line + 0.5)
        extend(
            picture,
            _line([(x, y - 4), (x + 26, y - 4)], number),
            tag("text", name, x=x + 32, y=y, fill=INK),
        )
    return svg_file(picture)


def mean_curve(results: Results, row: Row, *, place: int) -> list[Point]:
    """Give a row's curve of the value at this place of its points, the mean over those seeds that have it there."""
    values: dict[int, list[float]] = {}
    for result in results.of(row.name):
        for point in result["curve"]:
            if point[place] is not None:
                values.setdefault(point[0], []).append(point[place])
    return [(step, sum(found) / len(found)) for step, found in sorted(values.items())]


def _panel(title: str, curves: Mapping[str, Curve], *, left: float) -> Element:
    points = [point for curve in curves.values() for point in curve]
    across = ticks(0, max(step for step, _ in points))
    up = ticks(0, max(value for _, value in points))
    width, height = PANEL_WIDTH - LEFT - RIGHT, PANEL_HEIGHT - TOP - BOTTOM

    def place(step: float, value: float) -> Point:
        return left + LEFT + width * step / across[-1], TOP + height * (1 - value / up[-1])

    panel = tag("g", tag("text", title, x=left + LEFT, y=16, fill=INK, font_weight="bold"))
    for value in up:
        (start, y), (end, _) = place(0, value), place(across[-1], value)
        extend(
            panel,
            tag("line", x1=start, x2=end, y1=y, y2=y, stroke=RULE),
            tag("text", f"{value:g}", x=start - 6, y=y + 4, fill=INK, text_anchor="end"),
        )
    for step in across:
        x, y = place(step, 0)
        panel.append(tag("text", f"{step:g}", x=x, y=y + 16, fill=INK, text_anchor="middle"))
    panel.append(tag("text", "steps", x=left + LEFT + width / 2, y=PANEL_HEIGHT - 8, fill=INK, text_anchor="middle"))
    for number, curve in enumerate(curves.values()):
        if curve:
            panel.append(_line([place(*point) for point in curve], number))
    return panel


def _line(points: Curve, number: int) -> Element:
    return tag(
        "polyline",
        points=" ".join(f"{x:.1f},{y:.1f}" for x, y in points),
        fill="none",
        stroke=COLORS[number % len(COLORS)],
        stroke_width=2,
        stroke_dasharray=DASHES[number // len(COLORS) % len(DASHES)] or "none",
    )
