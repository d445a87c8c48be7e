"""Write into ``docs/performance.md``, between its markers, the tables and pictures that kept results make.

Run: ``python -m benchmarks.serving.page``. A part begins with ``<!-- made of benchmarks/results/NAME.json -->`` and
ends with ``<!-- end -->``; what stands between them is written anew.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from benchmarks.scaling import plots as scale_plots
from benchmarks.scaling import report as scale_report
from benchmarks.scaling.results import Results as ScaleResults
from benchmarks.serving import report, stage_report
from benchmarks.serving.plots import draw
from benchmarks.serving.results import Results
from benchmarks.serving.rows import ROOT
from model_zoo.atomic import write_atomically

PAGE = ROOT / "docs/performance.md"
_PART = re.compile(r"(<!-- made of (?P<file>\S+\.json) -->\n).*?(<!-- end -->)", re.DOTALL)


def main() -> None:
    """Write the page and its pictures."""
    text = PAGE.read_text(encoding="utf-8")
    for file in files_of(text):
        if (drawn := picture(file)) is not None:
            write_atomically(picture_path(file), [drawn])
    write_atomically(PAGE, [fill(text).encode()])


def fill(text: str) -> str:
    """Give the text with every part made anew."""
    return _PART.sub(lambda part: f"{part[1]}\n{render(ROOT / part['file'])}\n\n{part[3]}", text)


def files_of(text: str) -> list[Path]:
    """Give the files that a text's parts are made of."""
    return [ROOT / part["file"] for part in _PART.finditer(text)]


def render(file: Path) -> str:
    """Give what a file of results says."""
    shown = f"]({picture_path(file).relative_to(PAGE.parent)})\n\n"
    match kind_of(file):
        case "servers":
            return f"![images a second and latencies of each server{shown}{report.render(Results.read(file))}"
        case "scale":
            return f"![what grows with what{shown}{scale_report.render(ScaleResults.read(file))}"
    return stage_report.render(json.loads(file.read_text(encoding="utf-8")))


def picture(file: Path) -> bytes | None:
    """Draw what a file of results says, if it is drawn at all."""
    match kind_of(file):
        case "servers":
            return draw(Results.read(file))
        case "scale":
            return scale_plots.draw(ScaleResults.read(file))
    return None


def kind_of(file: Path) -> str:
    """Tell results of ``benchmarks.serve``, ``benchmarks.scale`` and ``benchmarks.stages`` from each other."""
    content = json.loads(file.read_text(encoding="utf-8"))
    return "servers" if "visits" in content else "scale" if "points" in content else "stages"


def picture_path(file: Path) -> Path:
    """Say where the picture of a file of results is."""
    return PAGE.parent / "images" / f"{file.stem}.svg"


if __name__ == "__main__":
    main()
