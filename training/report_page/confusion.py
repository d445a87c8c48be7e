"""Draw a confusion matrix as a heat map, as inline SVG.

Letters: C classes.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from xml.etree.ElementTree import Element

from torch import Tensor

from training.report_page.markup import extend, tag

LEAST_SHARE = 0.005
"""Smaller shares are not drawn: of 133 classes, they are most of 17689 cells."""
MOST_NUMBERED = 30
NUM_CONFUSIONS = 10


@dataclass(frozen=True, slots=True)
class Confusion:
    """Say which share of the pixels of class ``true`` were given class ``found``."""

    true: str
    found: str
    share: float


def row_shares(counts: Tensor) -> Tensor:
    """Divide each row of counts ``[C, C]`` by its sum, float64; NaN in the rows of absent classes."""
    return counts.double() / counts.sum(1, keepdim=True)


def confusions(counts: Tensor, classes: Sequence[str]) -> list[Confusion]:
    """Give the largest shares that went to another class, the largest first."""
    shares = row_shares(counts).fill_diagonal_(0).nan_to_num()
    largest = shares.flatten().argsort(descending=True, stable=True)[:NUM_CONFUSIONS].tolist()
    places = [divmod(place, len(classes)) for place in largest]
    return [
        Confusion(classes[true], classes[found], float(shares[true, found]))
        for true, found in places
        if shares[true, found] >= LEAST_SHARE
    ]


def draw_confusion(counts: Tensor, classes: Sequence[str]) -> Element:
    """Draw a row for each true class, and in it which shares of its pixels were given which class."""
    has_numbers = len(classes) <= MOST_NUMBERED
    cell, font = (26, 12) if has_numbers else (11, 9)
    margin = math.ceil(max(_ems(name) for name in classes) * font) + 10
    side = margin + cell * len(classes) + 4
    drawing = tag(
        "svg", viewBox=f"0 0 {side} {side}", width=side, height=side, role="img", aria_label="confusion matrix",
        class_="heat", font_size=font,
    )  # fmt: skip
    extent = cell * len(classes)
    drawing.append(tag("rect", x=margin, y=margin, width=extent, height=extent, class_="ground"))
    for place, name in enumerate(classes):
        middle = margin + cell * (place + 0.5)
        turned = f"translate({middle + font / 3:.1f} {margin - 5}) rotate(-90)"
        extend(
            drawing,
            tag("text", name, x=margin - 5, y=middle + font / 3, class_="end"),
            tag("text", name, transform=turned),
        )
    shares = row_shares(counts).tolist()
    for true, found, share in _cells(shares):
        about = f"{classes[true]} taken for {classes[found]}" if true != found else f"{classes[true]} found"
        square = tag(
            "rect", tag("title", f"{about}: {100 * share:.2f} %"), x=margin + cell * found, y=margin + cell * true,
            width=cell - 1, height=cell - 1, class_="right" if true == found else "wrong",
            fill_opacity=math.sqrt(share),
        )  # fmt: skip
        drawing.append(square)
        if has_numbers and share >= 0.01:
            text = tag("text", f"{100 * share:.0f}", class_="on strong" if share > 0.3 else "on")
            text.set("x", f"{margin + cell * (found + 0.5):g}")
            text.set("y", f"{margin + cell * (true + 0.5) + 4:g}")
            drawing.append(text)
    return drawing


def _ems(name: str) -> float:
    """Give how wide a name is at most, in sizes of its font, where this is no wider than DejaVu Sans."""
    return sum(map(_letter_ems, name))


def _letter_ems(letter: str) -> float:
    if letter in "mwMW@%" or unicodedata.east_asian_width(letter) in "WF":
        return 1.0
    return 0.8 if letter.isupper() else 0.65


def _cells(shares: Sequence[Sequence[float]]) -> Iterator[tuple[int, int, float]]:
    """Give row, column and share of every cell that is drawn; NaN is not."""
    for true, row in enumerate(shares):
        for found, share in enumerate(row):
            if share >= LEAST_SHARE:
                yield true, found, share
