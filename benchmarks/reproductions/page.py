"""Write ``docs/reproductions.md``: the text of ``page.md``, with tables and pictures that are made of the results."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.reproductions.plots import draw_section
from benchmarks.reproductions.results import Result, Results
from benchmarks.reproductions.suites import BASE, FOLDER, PLAIN, SECTIONS, SUITES, Effect, Row
from model_zoo.architectures.fcn import FCN32s
from model_zoo.atomic import write_atomically
from training.recipe import read_recipe

DOCS = FOLDER.parents[1] / "docs"
PAGE = DOCS / "reproductions.md"
IMAGES = DOCS / "images"
TEMPLATE = FOLDER / "page.md"
EXPECTED = FOLDER / "expected.json"

MARGIN = 0.01
"""The difference of mIoU below which two rows count as equal."""
NOT_RUN = "not run"


def write_page() -> None:
    """Write the page and its pictures; those without results are removed."""
    found = {name: Results(suite) for name, suite in SUITES.items()}
    for suite, results in found.items():
        for section in SECTIONS:
            path = picture_path(suite, section)
            if picture := draw_section(results, section_rows(results, section)):
                write_atomically(path, [picture])
            else:
                path.unlink(missing_ok=True)
    write_atomically(PAGE, [render_page(found).encode()])


def render_page(found: Mapping[str, Results]) -> str:
    """Fill the text's ``{{word suite section}}`` with what the results say."""
    fillings: Mapping[str, Callable[..., str]] = {
        "margin": lambda: f"{MARGIN:g}",
        "told": lambda run: f"{_expected()['told'][run]} %",
        "setting": lambda suite, name: str(
            read_recipe(str(SUITES[suite].base), SUITES[suite].changes).model_dump()[name]
        ),
        "pixels": lambda suite, row: str(SUITES[suite].row(row).changes["shift_pixels"]),
        "shift": lambda suite: str(SUITES[suite].shift_step),
        "passes": lambda suite: str((FCN32s.stride // SUITES[suite].shift_step) ** 2),
        "runs": lambda suite: runs(found[suite]),
        "table": lambda suite, section: table(found[suite], section),
        "expected": lambda suite: expected_table(found[suite]),
        "picture": lambda suite, section: picture(found[suite], section),
        "effects": lambda suite, section: effects(found[suite], section),
        "unmoved": lambda suite: unmoved(found[suite]),
        "summary": lambda suite: summary(found[suite]),
    }

    def fill(match: re.Match[str]) -> str:
        word, *arguments = match[1].split()
        return fillings[word](*arguments)

    return re.sub(r"\{\{([\w -]+)\}\}", fill, TEMPLATE.read_text(encoding="utf-8"))


def section_rows(results: Results, section: str) -> list[Row]:
    """Give the rows of a section, and before them those of others that they are held against."""
    suite = results.suite
    named = {name for effect in suite.effects if effect.section == section for pair in effect.pairs for name in pair}
    return [row for row in suite.rows if row.section == section or row.name in named]


def table(results: Results, section: str) -> str:
    """Give a line for each row and view of a section."""
    lines = [
        "| row | what it changes | seeds | mIoU | its range | legacy | first training images | last loss | minutes |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in section_rows(results, section):
        lines += [_table_line(row, view, results.of(row.name)) for view in row.views]
    return "\n".join(lines)


def expected_table(results: Results) -> str:
    """Give what an earlier study found beside what was found here."""
    lines = [
        "| row | mIoU there | mIoU here | first training images there | here | last loss there | here |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, there in _expected()["rows"].items():
        here = results.of(name)
        cells = [f"`{name}`"]
        for key, values in (
            ("miou", [result["scores"][PLAIN]["miou"] for result in here]),
            ("first_train_miou", [result["first_train_miou"] for result in here]),
            ("last_loss", [result["last_loss"] for result in here]),
        ):
            digits = 2 if key == "last_loss" else 3
            cells += [_listed(there[key], digits), _listed(values, digits)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def effects(results: Results, section: str) -> str:
    """Say for each effect of a section how much it is and whether it is shown; "all" takes every section."""
    lines = ["| what | mIoU | from ... to | runs compared | verdict |", "|---|---|---|---|---|"]
    for effect in results.suite.effects:
        if section in ("all", effect.section):
            differences = found_differences(results, effect)
            if not differences:
                lines.append(f"| {effect.claim} | {NOT_RUN} | | | |")
                continue
            mean = sum(differences) / len(differences)
            span = f"{min(differences):+.3f} ... {max(differences):+.3f}"
            lines.append(f"| {effect.claim} | {mean:+.3f} | {span} | {len(differences)} | {verdict(differences)} |")
    return "\n".join(lines)


def found_differences(results: Results, effect: Effect) -> list[float]:
    """Give by how much the first of each pair scores more than the second, for every seed that both have."""
    differences = []
    for names in effect.pairs:
        first, second = (results.mious(name, view) for name, view in zip(names, effect.views, strict=True))
        differences += [first[seed] - second[seed] for seed in sorted(first.keys() & second.keys())]
    return differences


def verdict(differences: Sequence[float]) -> str:
    """Say what differences show; one alone shows nothing."""
    if len(differences) == 1:
        return "one pair of runs: a pointer, no more"
    if min(differences) > MARGIN:
        return "shown: more every time"
    if max(differences) < -MARGIN:
        return "shown: less every time"
    if max(map(abs, differences)) <= MARGIN:
        return f"no difference above {MARGIN:g}"
    return "not shown: it depends on the seed or on what else is chosen"


def picture(results: Results, section: str) -> str:
    """Show the curves of a section, or nothing where there are none."""
    rows = section_rows(results, section)
    if not any(results.of(row.name) for row in rows):
        return "No curves yet."
    if draw_section(results, rows) is None:
        return "Every row is one epoch long, so that its curve is the one point that the table tells."
    path = picture_path(results.suite.name, section).relative_to(DOCS)
    return f"![{SECTIONS[section]}: loss and mIoU over steps]({path})"


def picture_path(suite: str, section: str) -> Path:
    """Say where the curves of a section are drawn."""
    return IMAGES / f"reproductions-{suite}-{section}.svg"


def runs(results: Results) -> str:
    """Say how many of the runs are there, of what code, on what machine, and how long they took."""
    rows = results.suite.rows
    found = [result for row in rows for result in results.of(row.name)]
    wanted = len(rows) * len(results.suite.seeds)
    if not found:
        return f"{wanted} runs are wanted, none is there: {NOT_RUN}."
    hours = sum(result["train_seconds"] + result["score_seconds"] for result in found) / 3600
    commits = ", ".join(sorted({f"`{(result['commit'] or 'unknown')[:7]}`" for result in found}))
    machines = ", ".join(
        sorted({f"{one['environment']['CPU']} with torch {one['environment']['torch']}" for one in found})
    )
    threads = ", ".join(sorted({result["environment"]["threads"] for result in found}))
    return (
        f"{len(found)} runs of {wanted} wanted, {hours:.1f} hours together, {threads} thread(s) each, on {machines}; "
        f"code {commits}."
    )


def unmoved(results: Results) -> str:
    """Name the weights that had not moved when a run was over, row by row."""
    lines = []
    for row in section_rows(results, "zeros"):
        found = results.of(row.name)
        layers = sorted({layer for result in found for layer in result["unmoved"]})
        told = ", ".join(f"`{layer}`" for layer in layers) or "none"
        lines.append(f"- `{row.name}`: {told if found else NOT_RUN}")
    return "\n".join(lines)


def summary(results: Results) -> str:
    """Give the mIoU of every row in one narrow table."""
    lines = ["| row | mIoU | minutes |", "|---|---|---|"]
    for row in results.suite.rows:
        found = results.of(row.name)
        lines.append(f"| `{row.name}` | {_listed(list(results.mious(row.name).values()), 3)} | {_minutes(found)} |")
    return "\n".join(lines)


def result_line(result: Result) -> str:
    """Say in a line what came of a run."""
    scores = "  ".join(f"{view} mIoU {values['miou']:.4f}" for view, values in result["scores"].items())
    return f"{result['row']:<22} seed {result['seed']}  {scores}  {result['train_seconds']:.0f} s"


def _expected() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(EXPECTED.read_text(encoding="utf-8"))
    return content


def _table_line(row: Row, view: str, found: Sequence[Result]) -> str:
    name = f"`{row.name}`" if view == PLAIN else f"`{row.name}`, {view}"
    if not found:
        return f"| {name} | {_changes(row)} | | {NOT_RUN} | | | | | |"
    scores = [result["scores"][view] for result in found]
    mious = [score["miou"] for score in scores]
    cells = [
        name,
        _changes(row),
        ", ".join(str(result["seed"]) for result in found),
        _mean(mious),
        f"{min(mious):.3f} ... {max(mious):.3f}",
        _mean([score["legacy_fg_iou_13"] for score in scores]),
        _mean([result["first_train_miou"] for result in found]),
        _mean([result["last_loss"] for result in found]),
        _minutes(found),
    ]
    return f"| {' | '.join(cells)} |"


def _changes(row: Row) -> str:
    """Say what a row changes, as the recipe's own words."""
    words = [_word(name, value) for name, value in row.changes.items()]
    if len(row.stages) > 1:
        words.append("stages " + ", ".join(f"`{stage['architecture']}`" for stage in row.stages))
    return "; ".join(words) or ("nothing: the base" if row.name == BASE else "")


def _word(name: str, value: Any) -> str:  # noqa: ANN401  # a recipe's field may be of any kind
    if isinstance(value, Mapping):
        return ", ".join(_word(key, entry) for key, entry in value.items())
    shown = f"{value:g}" if isinstance(value, float) else "none" if value is None else value
    return f"`{name} = {shown}`"


def _mean(values: Sequence[float]) -> str:
    return f"{sum(values) / len(values):.3f}"


def _listed(values: Sequence[float], digits: int) -> str:
    return ", ".join(f"{value:.{digits}f}" for value in values) or NOT_RUN


def _minutes(found: Sequence[Result]) -> str:
    return f"{sum(one['train_seconds'] for one in found) / len(found) / 60:.1f}" if found else ""
