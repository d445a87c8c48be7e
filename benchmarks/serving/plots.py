"""Draw how servers compare as one SVG: pictures a second, and how long the slowest percent waits.

A bar is the median over the rounds, the thin line in it goes from the lowest to the highest. Sizes are in the units of
the drawing; colours are told in the file itself, so that it is the same wherever it is shown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from xml.etree.ElementTree import Element

from benchmarks.serving.results import Results
from benchmarks.serving.rows import TRIVIAL, is_own
from training.report_page.curves import ticks
from training.report_page.markup import drawing, extend, svg_file, tag

PANEL_WIDTH, NAMES, RIGHT, TOP, BOTTOM, BAR = 420, 136, 24, 34, 26, 22
OURS, THEIRS, INK, RULE, PAPER = "#1f6feb", "#9aa4b0", "#57606a", "#d9dee4", "#ffffff"


def draw(results: Results) -> bytes:
    """Draw what was answered in a closed loop, and the latencies of an open one, side by side."""
    rows = [row for row in results.rows if row != TRIVIAL]
    panels = [
        (f"images/s, {load}" if key == "images_per_second" else f"p99 in ms, {load}", key, load)
        for key, load in (("images_per_second", closed_load(results)), ("p99", open_load(results)))
        if load
    ]
    width, height = PANEL_WIDTH * len(panels), TOP + BAR * len(rows) + BOTTOM
    picture = drawing(width, height, font_size=12, paper=PAPER)
    for column, (title, key, load) in enumerate(panels):
        scale = 1000 if key == "p99" else 1
        values = {row: [scale * value for value in results.values(row, load, key).values()] for row in rows}
        picture.append(_panel(title, values, left=column * PANEL_WIDTH))
    return svg_file(picture)


def closed_load(results: Results) -> str | None:
    """Name the closed loop that is drawn: that of 8 clients, or the last one."""
    closed = [load for load in results.loads if "client" in load]
    return "8 clients" if "8 clients" in closed else closed[-1] if closed else None


def open_load(results: Results) -> str | None:
    """Name the open loop that is drawn: that of a rate which is the same for all, or of 80 % of each one's capacity."""
    opened = [load for load in results.loads if "client" not in load]
    common = [load for load in opened if load.endswith("a second")]
    return next(iter([*common, *(load for load in opened if load.startswith("80%")), *opened]), None)


def _panel(title: str, values: Mapping[str, Sequence[float]], *, left: float) -> Element:
    up = ticks(0, max((max(found) for found in values.values() if found), default=1))
    bottom = TOP + BAR * len(values)

    def place(value: float) -> float:
        return left + NAMES + (PANEL_WIDTH - NAMES - RIGHT) * value / up[-1]

    panel = tag("g", tag("text", title, x=left + NAMES, y=16, fill=INK, font_weight="bold"))
    for value in up:
        extend(
            panel,
            tag("line", x1=place(value), x2=place(value), y1=TOP - 4, y2=bottom, stroke=RULE),
            tag("text", f"{value:g}", x=place(value), y=bottom + 16, fill=INK, text_anchor="middle"),
        )
    for number, (row, found) in enumerate(values.items()):
        top = TOP + BAR * number
        panel.append(tag("text", row, x=left + NAMES - 6, y=top + BAR / 2 + 4, fill=INK, text_anchor="end"))
        if found:
            color = OURS if is_own(row) else THEIRS
            x, y = place(0), top + BAR / 2
            extend(
                panel,
                tag("rect", x=x, y=top + 3, width=place(median(found)) - x, height=BAR - 6, fill=color),
                tag("line", x1=place(min(found)), x2=place(max(found)), y1=y, y2=y, stroke=INK, stroke_width=2),
            )
    return panel
