"""Draw how the numbers of a run went on over its epochs, as inline SVG.

Sizes are in the units of the drawing, which is scaled to the width that the page has for it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree.ElementTree import Element

from training.findings import Row
from training.report_page.markup import extend, tag

WIDTH, HEIGHT = 400, 250
LEFT, RIGHT, TOP, BOTTOM = 50, 12, 30, 42
MOST_TICKS = 6
MOST_DOTS = 40
LEAST, MOST = 1e-290, 1e300
"""Sizes of numbers that can be subtracted and divided; smaller ones are drawn as 0, larger ones as the largest."""
Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Curve:
    """Say which column is drawn under which title."""

    column: str
    title: str
    unit: str


CURVES = (
    Curve("loss", "Loss", "mean of the epoch"),
    Curve("lr", "Learning rate", "at the end of the epoch"),
    Curve("val_miou", "Validation mIoU", "mean IoU"),
    Curve("val_pixel_accuracy", "Validation pixel accuracy", "share of pixels"),
    Curve("gradient", "Gradient", "length, before clipping"),
    Curve("images_per_second", "Speed", "images per second"),
    Curve("waited", "Waiting for images", "share of the time"),
)


def draw_curves(rows: Sequence[Row]) -> Element:
    """Draw each curve of which there is a value, side by side."""
    panels = tag("div", class_="curves")
    for curve in CURVES:
        points = sorted((row["epoch"], row[curve.column]) for row in rows if curve.column in row)
        if points:
            panels.append(_draw_panel(curve, points))
    return panels


def ticks(low: float, high: float) -> list[float]:
    """Give at most seven round numbers at equal distances, from at most ``low`` to at least ``high``."""
    if high - low <= 1e-9 * max(abs(low), abs(high)):
        low, high = (low - abs(low) / 2, high + abs(high) / 2) if low else (0.0, 1.0)
    power = 10 ** math.floor(math.log10((high - low) / (MOST_TICKS - 1)))
    for factor in (1, 2, 2.5, 5, 10):
        step = factor * power
        first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
        if last - first <= MOST_TICKS:
            return [float(f"{number * step:.12g}") for number in range(first, last + 1)]
    raise AssertionError((low, high))


def _draw_panel(curve: Curve, points: Sequence[Point]) -> Element:
    last = f"{points[-1][1]:.4g}"
    head = tag("figcaption", tag("b", curve.title), " ", tag("span", f"last {last}", class_="quiet"))
    return tag("figure", head, _draw(curve, points))


def _draw(curve: Curve, points: Sequence[Point]) -> Element:
    first, last = _drawable(points[0][0]), _drawable(points[-1][0])
    epochs = _epoch_ticks(first, last)
    drawn = [_drawable(value) for _, value in points]
    values = ticks(min(drawn), max(drawn))
    width, height = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
    span = max(1.0, last - first)

    def x(epoch: float) -> float:
        return LEFT + width * (_drawable(epoch) - first) / span

    def y(value: float) -> float:
        return TOP + height * (values[-1] - _drawable(value)) / (values[-1] - values[0])

    label = f"{curve.title} over epochs"
    drawing = tag("svg", viewBox=f"0 0 {WIDTH} {HEIGHT}", role="img", aria_label=label, class_="curve")
    for value in values:
        extend(
            drawing,
            tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=y(value), y2=y(value), class_="grid"),
            tag("text", f"{value:g}", x=LEFT - 7, y=y(value) + 4, class_="end"),
        )
    for epoch in epochs:
        extend(
            drawing,
            tag("line", x1=x(epoch), x2=x(epoch), y1=HEIGHT - BOTTOM, y2=HEIGHT - BOTTOM + 4, class_="axis"),
            tag("text", f"{epoch:g}", x=x(epoch), y=HEIGHT - BOTTOM + 17, class_="middle"),
        )
    extend(
        drawing,
        tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=HEIGHT - BOTTOM, y2=HEIGHT - BOTTOM, class_="axis"),
        tag("text", "epoch", x=LEFT + width / 2, y=HEIGHT - 7, class_="middle name"),
        tag("text", curve.unit, x=0, y=11),
        tag("polyline", points=" ".join(f"{x(epoch):.1f},{y(value):.1f}" for epoch, value in points), class_="line"),
    )
    for epoch, value in points if len(points) <= MOST_DOTS else points[-1:]:
        shown = tag("title", f"epoch {epoch:g}: {value:.6g}")
        drawing.append(tag("circle", shown, cx=x(epoch), cy=y(value), r=3, class_="dot"))
    return drawing


def _drawable(value: float) -> float:
    return max(-MOST, min(value, MOST)) if abs(value) >= LEAST else 0.0


def _epoch_ticks(first: float, last: float) -> list[float]:
    """Give whole epochs, round ones but for the first and the last."""
    round_ones = [epoch for epoch in ticks(first, last) if first < epoch < last and epoch.is_integer()]
    gap = (last - first) / 12
    kept = [epoch for epoch in round_ones if epoch - first > gap and last - epoch > gap]
    return sorted({first, *kept, last})
