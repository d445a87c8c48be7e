"""Put together the page that shows a run: one file of HTML that needs nothing else."""

from __future__ import annotations

from pathlib import Path
from xml.etree.ElementTree import Element

from training.datasets import LabelSpace
from training.environment import hide_homes
from training.findings import Findings
from training.report_page.confusion import confusions, draw_confusion
from training.report_page.curves import draw_curves
from training.report_page.gallery import draw_gallery
from training.report_page.markup import Content, render, tag
from training.report_page.tables import (
    class_table,
    confusion_table,
    dataset_table,
    environment_table,
    origin_table,
    score_tiles,
)

STYLE = Path(__file__).with_name("style.css")


def draw_page(findings: Findings) -> bytes:
    """Give the page as UTF-8."""
    name = findings.last.name
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", f"{name}: training report"),
        tag("style", STYLE.read_text(encoding="utf-8")),
    )
    body = tag("body", tag("main", *_title(findings), *_scores(findings), *_images(findings), *_making(findings)))
    return render(tag("html", head, body, lang="en"))


def _title(findings: Findings) -> list[Element]:
    scores, (low, high) = findings.found.scores, findings.found.interval
    return [
        tag(
            "header",
            tag("p", "Training report", class_="kicker"),
            tag("h1", findings.last.name),
            tag("p", findings.last.description, class_="lead"),
            tag(
                "p",
                tag("strong", f"mIoU {scores.mean_iou:.4f}", class_="headline"),
                tag("span", f"95 % interval {low:.4f} to {high:.4f}"),
                tag("span", f"{findings.found.num_images} images: {findings.val_name}"),
                class_="result",
            ),
            score_tiles(findings),
        )
    ]


def _scores(findings: Findings) -> list[Element]:
    classes, counts = findings.last.spec.classes, findings.found.scores.counts
    return [
        _section("Curves", "", draw_curves(findings.rows)),
        _section("Classes", _told_absent(findings), class_table(findings)),
        _section(
            "Confusion matrix",
            "A row holds all pixels of one true class; a cell says which share of them, in percent, was given the "
            "class of the column. Blue is right, orange is wrong; shares below 0.5 % are left out.",
            tag(
                "div",
                tag("div", draw_confusion(counts, classes), class_="wide"),
                tag("div", tag("h3", "Most often confused"), confusion_table(confusions(counts, classes))),
                class_="beside",
            ),
        ),
    ]


def _images(findings: Findings) -> list[Element]:
    spec, extremes = findings.last.spec, findings.extremes
    labels = LabelSpace(spec.label_space, spec.classes, spec.palette)
    about = "The number is the mIoU of the one image over the classes that its target has; white has no label."
    return [
        _section("Best images", about, draw_gallery(extremes.best, labels)),
        _section("Worst images", about, draw_gallery(extremes.worst, labels)),
    ]


def _making(findings: Findings) -> list[Element]:
    return [
        _section("Data", "", dataset_table(findings)),
        _section("Origin", "", origin_table(findings)),
        _section("Environment", "Where this report was made, and its scores computed.", environment_table(findings)),
        _section("Recipe", "", tag("pre", hide_homes(findings.recipe.to_toml()))),
    ]


def _section(title: str, about: str, *content: Content) -> Element:
    told = [tag("p", about, class_="about")] if about else []
    return tag("section", tag("h2", title), *told, *content)


def _told_absent(findings: Findings) -> str:
    names = ", ".join(findings.absent)
    return f"A dash stands for what cannot be scored: the set has no pixel of {names}." if names else ""
