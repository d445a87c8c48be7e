"""Tell of results in tables, one for each load, and in words; the same in a terminal and in ``docs/performance.md``.

A cell holds the median over the rounds, and in brackets the lowest and the highest. Ratios are taken within a round,
so that what slows the machine down for a while slows both sides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from benchmarks.serving.results import Results
from benchmarks.serving.rows import TRIVIAL, is_own

Cells = Sequence[str]


def render(results: Results) -> str:
    """Give all tables and what they depend on."""
    parts = [starts(results)]
    for load in results.loads:
        parts += [f"**{load}**", table(results, load)]
    return "\n\n".join([*parts, failures(results), circumstances(results)]).replace("\n\n\n\n", "\n\n")


def starts(results: Results) -> str:
    """Give what each server costs before it has anything to do, and whether its masks are right."""
    head = ["server", "version", "ready after s", "first mask after s", "MB after it", "processes", "equal pixels"]
    lines = []
    for row in filter(lambda row: row != TRIVIAL, results.rows):
        visits = [visit for visit in results.of(row) if not visit["error"]]
        share = results.agreement(row)
        lines.append(
            [
                f"`{row}`",
                _version(results, row),
                spread([visit["ready_seconds"] for visit in visits], ".1f"),
                spread([visit["mask_seconds"] for visit in visits], ".1f"),
                spread([visit["idle_bytes"] / 1e6 for visit in visits], ".0f"),
                spread([visit["num_processes"] for visit in visits], ".0f"),
                "" if share is None else f"{share:.3%}",
            ]
        )
    return lay_out(head, lines)


def table(results: Results, load: str) -> str:
    """Give how each server did under a load.

    The last columns hold it against this service: in a closed loop how many times as many pictures this service
    answered, in an open one, where all are asked alike, how many times as long the slowest percent waited for it.
    """
    rows = [row for row in results.rows if row != TRIVIAL]
    own = [row for row in rows if is_own(row)]
    is_closed = any(results.values(row, load, "clients") for row in rows)
    head = [
        "server", "images/s", "p50 ms", "p99 ms", "failed", "CPU ms/image", "client's", "peak MB", "processes",
        *(f"`{row}` / it" if is_closed else f"p99 / `{row}`'s" for row in own),
    ]  # fmt: skip
    lines = []
    for row in rows:
        pairs = [(other, row) if is_closed else (row, other) for other in own]
        key = "images_per_second" if is_closed else "p99"
        ratios = [spread(results.ratios(*pair, load, key), ".2f") for pair in pairs]
        lines.append([f"`{row}`", *_cells(results, row, load), *ratios])
    return lay_out(head, lines)


def failures(results: Results) -> str:
    """Name what went wrong, if anything did."""
    lines = []
    for visit in results.visits:
        if visit["error"]:
            lines.append(f"- `{visit['row']}`, round {visit['round']}: {visit['error'].splitlines()[0][:200]}")
        for load, found in visit["loads"].items():
            told = ", ".join(f"{count} x {kind}" for kind, count in found.get("failures", {}).items())
            if told := told or found.get("error"):
                lines.append(f"- `{visit['row']}`, round {visit['round']}, {load}: {told}")
    return "\n".join(["What failed:", "", *lines]) if lines else "Nothing failed."


def circumstances(results: Results) -> str:
    """Say on what all this was measured, how, and what the client can do at most."""
    limits = [
        f"{load}: {spread(list(found.values()), '.0f')}"
        for load in results.loads
        if (found := results.values(TRIVIAL, load, "images_per_second"))
    ]
    told = (
        f" Of a server that does nothing, the client gets, in answers a second: {'; '.join(limits)}." if limits else ""
    )
    return about_run(results.about) + told


def about_run(about: Mapping[str, Any]) -> str:
    """Name the command, the code, the machine and the settings of a run."""
    machine = about["machine"]
    words = [
        f"`{about['command']}`, {about['date'][:10]}, code `{about['commit']}`{' and changes' * about['is_changed']}; "
        f"{machine['cpu']}, {machine['cores']} cores, Python {machine['python']}, torch {machine['torch']}."
    ]
    for row, server in about["servers"].items():
        if server["settings"]:
            words.append(f"`{row}` sets {_settings(server['settings'])}.")
    return " ".join(words)


def spread(values: Sequence[float], form: str) -> str:
    """Give the median, and the lowest and the highest if they differ; nothing where there is nothing."""
    if not values:
        return ""
    middle, low, high = (format(value, form) for value in (median(values), min(values), max(values)))
    return middle if low == high else f"{middle} ({low} to {high})"


def lay_out(head: Cells, lines: Sequence[Cells]) -> str:
    """Give a table in Markdown whose columns also stand one below the other in a terminal."""
    widths = [max(map(len, column)) for column in zip(head, *lines, strict=True)]

    def line(cells: Cells) -> str:
        return f"| {' | '.join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True))} |"

    return "\n".join([line(head), f"|{'|'.join('-' * (width + 2) for width in widths)}|", *map(line, lines)])


def _cells(results: Results, row: str, load: str) -> Cells:
    def values(key: str, scale: float = 1) -> list[float]:
        return [scale * value for value in results.values(row, load, key).values()]

    failed, answered = failed_share(results, row, load), values("answered")
    if not answered:
        return [""] * 8
    per_image = {
        key: [1000 * seconds / count for seconds, count in zip(values(key), answered, strict=True) if count]
        for key in ("cpu_seconds", "client_cpu_seconds")
    }
    return [
        spread(values("images_per_second"), ".1f"),
        _latency(values("p50", 1000), len(answered)),
        _latency(values("p99", 1000), len(answered)),
        f"{failed:.1%}" if failed else "0",
        spread(per_image["cpu_seconds"], ".1f"),
        f"{median(per_image['client_cpu_seconds'] or [0]):.2f}",
        f"{max(values('peak_bytes', 1e-6)):.0f}",
        f"{max(values('num_processes')):.0f}",
    ]


def failed_share(results: Results, row: str, load: str) -> float:
    """Give the share of pictures, over all rounds, that got no mask."""
    visits = [found for visit in results.of(row) if (found := visit["loads"].get(load)) and "failures" in found]
    failed = sum(sum(found["failures"].values()) for found in visits)
    total = failed + sum(found["answered"] for found in visits)
    return failed / total if total else 0.0


def _latency(values: Sequence[float], num_rounds: int) -> str:
    """Give a latency, infinite in the rounds that do not tell one: too many failed."""
    known = [*values, *[float("inf")] * (num_rounds - len(values))]
    return spread(known, ".0f" if min(known) >= 100 else ".1f")


def _version(results: Results, row: str) -> str:
    server: Mapping[str, str] = results.about["servers"].get(row, {})
    known = [value for key, value in server.items() if key not in ("python", "torch", "pillow", "numpy", "settings")]
    return known[0] if known else ""


def _settings(settings: Mapping[str, str]) -> str:
    return ", ".join(f"`{name}={value}`" for name, value in settings.items())
