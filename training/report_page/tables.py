"""Lay out the numbers and the facts of a run as tables."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from xml.etree.ElementTree import Element

from model_zoo.card import DatasetRecord
from training.environment import hide_homes
from training.evaluation.scores import overall_scores
from training.findings import Findings
from training.report_page.confusion import Confusion
from training.report_page.gallery import swatch
from training.report_page.markup import tag

DASH = "\N{EN DASH}"


def score_tiles(findings: Findings) -> Element:
    """Show the scores of the whole set, and that of the best checkpoint."""
    values = overall_scores(findings.found)
    del values["mIoU"]  # stands above
    values["mIoU of the best checkpoint"] = findings.best_iou
    tiles = [tag("div", tag("b", number(value)), tag("small", name)) for name, value in values.items()]
    return tag("div", *tiles, class_="tiles")


def class_table(findings: Findings) -> Element:
    """Show the scores of each class, the mean below."""
    found, spec = findings.found, findings.last.spec
    scores = (found.scores.iou, found.scores.accuracy, found.scores.dice, found.boundary.iou)
    pixels = found.scores.counts.sum(1)
    shares = (pixels.double() / pixels.sum()).tolist()
    rows = [
        tag(
            "tr",
            tag("th", swatch(color), name, scope="row"),
            _bar_cell(values[0]),
            *(_number_cell(number(value)) for value in values[1:]),
            _number_cell(f"{count:,}"),
            _number_cell(f"{100 * share:.2f} %" if count else DASH),
        )
        for name, color, count, share, *values in zip(
            spec.classes, spec.palette, pixels.tolist(), shares, *(score.tolist() for score in scores), strict=True
        )
    ]
    means = (found.scores.mean_iou, found.scores.mean_accuracy, found.scores.mean_dice, found.boundary.mean_iou)
    foot = tag(
        "tr",
        tag("th", "mean of the classes", scope="row"),
        *(_number_cell(number(value)) for value in means),
        _number_cell(f"{int(pixels.sum()):,}"),
        _number_cell(""),
    )
    heads = ("class", "IoU", "accuracy", "Dice", "boundary IoU", "pixels", "share")
    return _table(heads, rows, foot=foot, class_="classes")


def confusion_table(found: Sequence[Confusion]) -> Element:
    """Name the classes that are most often taken for each other."""
    rows = [
        tag("tr", tag("td", one.true), tag("td", one.found), _number_cell(f"{100 * one.share:.2f} %")) for one in found
    ]
    return _table(("true class", "taken for", "of its pixels"), rows, class_="confusions")


def dataset_table(findings: Findings) -> Element:
    """Tell which sets were trained on, and which one was scored."""
    records = [*(("training", record) for record in findings.last.training.datasets), ("validation", findings.val)]
    rows = [_dataset_row(use, record) for use, record in records]
    return _table(("used for", "set", "images", "licence", "rules", "sha256 of the ids"), rows, class_="data")


def origin_table(findings: Findings) -> Element:
    """Tell what the checkpoint is and where it comes from."""
    last, training = findings.last, findings.last.training
    initial = training.initial_weights
    facts = {
        "architecture": ", ".join(filter(None, (last.spec.architecture, _told(last.spec.arguments)))),
        "parameters": f"{findings.num_parameters:,}",
        "weights": f"{last.dtype}, sha256 {last.sha256}",
        "initial weights": f"{initial.name}, {initial.licence}, sha256 {initial.sha256}" if initial else "random",
        "best checkpoint": _told_best(findings),
        "seed": DASH if training.seed is None else str(training.seed),
        "epochs": f"{findings.rows[-1]['epoch']:g}",
        "time": DASH if findings.seconds is None else duration(findings.seconds),
        "commit": training.commit or DASH,
        "command": hide_homes(training.command) if training.command else DASH,
    }
    return _facts(facts)


def environment_table(findings: Findings) -> Element:
    """Tell the versions and the hardware."""
    return _facts(findings.environment)


def number(value: float) -> str:
    """Write a score with four places, a dash where there is none."""
    return DASH if math.isnan(value) else f"{value:.4f}"


def duration(seconds: float) -> str:
    """Write a time for people."""
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if minutes else f"{rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def _told_best(findings: Findings) -> str:
    if findings.best is None:
        return DASH
    same = ", the same weights as the last" if findings.best.sha256 == findings.last.sha256 else ""
    return f"mIoU {number(findings.best_iou)} when it was saved{same}"


def _dataset_row(use: str, record: DatasetRecord) -> Element:
    return tag(
        "tr",
        tag("td", use),
        tag("td", f"{record.name} ({record.split})"),
        _number_cell(f"{record.num_images:,}"),
        tag("td", record.licence),
        tag("td", _told(record.rules) or DASH),
        tag("td", tag("code", record.list_sha256)),
    )


def _told(values: Mapping[str, object]) -> str:
    return ", ".join(f"{name} = {value}" for name, value in values.items())


def _facts(facts: Mapping[str, str]) -> Element:
    rows = [tag("tr", tag("th", name, scope="row"), tag("td", value)) for name, value in facts.items()]
    return tag("div", tag("table", tag("tbody", *rows), class_="facts"), class_="wide")


def _table(heads: Iterable[str], rows: Iterable[Element], *, class_: str, foot: Element | None = None) -> Element:
    parts = [tag("thead", tag("tr", *(tag("th", head, scope="col") for head in heads))), tag("tbody", *rows)]
    if foot is not None:
        parts.append(tag("tfoot", foot))
    return tag("div", tag("table", *parts, class_=class_), class_="wide")


def _number_cell(text: str) -> Element:
    return tag("td", text, class_="number")


def _bar_cell(value: float) -> Element:
    """Show a score as a number behind a bar of that length."""
    if math.isnan(value):
        return _number_cell(DASH)
    return tag("td", number(value), class_="number bar", style=f"--share:{value:.1%}")
