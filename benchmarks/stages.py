"""Time every stage of the way of an image beside its own limit, and the whole service beside the bare network.

Run from the repository's root: ``python -m benchmarks.stages`` (``--help`` names the options).

*Stages*: what a stage takes of an image, in milliseconds, for each set of pictures, beside what it cannot be faster
than or what one would do without this project; and what HTTP costs with nothing behind it. The two take turns in one
process; a first round is not counted.

*Roofline*: images/s of the service with 64 clients over those of the bare network at its best batch size, with the same
pictures, threads and precision; both are measured in each round, one after the other, in processes of their own.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from benchmarks.serve import write_setup
from benchmarks.serving import bare, images, stage_times
from benchmarks.serving.networks import find_network
from benchmarks.serving.results import describe_run
from benchmarks.serving.rows import REFERENCE, ROOT, SETTINGS, TRIVIAL
from benchmarks.serving.stage_report import render
from benchmarks.serving.visit import Load, Setup, Visit, run_visit

PARTS = ("stages", "http", "roofline")
BATCH_SIZES = (1, 2, 4, 8, 16)
EMPTY_ROUTE = "/healthz"
HTTP_SECONDS = 1.5


def main(words: Sequence[str] | None = None) -> int:
    """Measure, print, and keep what was found after every part."""
    words = sys.argv[1:] if words is None else words
    options = read_options(words)
    shown = {key: value for key, value in vars(options).items() if key not in ("json", "under", "port")}
    about = describe_run(words, options.own, shown, module="benchmarks.stages")
    found: dict[str, Any] = {"about": about, "stages": {}, "http": [], "roofline": []}
    for part, value in measure(options):
        if part == "stages":
            found[part].update(value)
        else:
            found[part].append(value)
        if options.json:
            options.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(render(found))
    return 0


def measure(options: argparse.Namespace) -> Iterator[tuple[str, dict[str, Any]]]:
    """Give what each part finds, in turn, by its name."""
    network = find_network(options.network)
    with tempfile.TemporaryDirectory() as name:
        kinds = {"stages": options.images, "http": ["tiny"], "roofline": options.roofline}
        needed = {kind for part in options.parts for kind in kinds[part]}
        setups = {kind: _setup(Path(name) / kind, options, kind, network) for kind in sorted(needed)}
        if "stages" in options.parts:
            for kind in options.images:
                yield "stages", {kind: _stages(setups[kind], options)}
        for number in range(1, options.rounds + 1):
            if "http" in options.parts:
                yield "http", _http(replace(setups["tiny"], network=None), number, options)
            if "roofline" in options.parts:
                for kind in options.roofline:
                    for row in options.own:
                        yield "roofline", _roofline(setups[kind], row, number, options, kind)


def read_options(words: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--network", default="default", help="default, lraspp, or a checkpoint (%(default)s)")
    add("--parts", nargs="+", default=PARTS, choices=PARTS, help="what is measured (all)")
    add("--images", nargs="+", default=["256", "voc", "12mp"], choices=images.SETS, help="of the stages (256 voc 12mp)")
    add("--roofline", nargs="*", default=["voc"], choices=images.SETS, help="pictures of the roofline (voc)")
    add("--own", nargs="+", default=list(SETTINGS), choices=SETTINGS, help="rows of this service (all)")
    add("--clients", type=int, default=64, help="(%(default)s)")
    add("--rounds", type=int, default=5, help="(%(default)s)")
    add("--seconds", type=float, default=8.0, help="that the service is asked for in each round (%(default)s)")
    add("--threads", type=int, default=len(os.sched_getaffinity(0)), help="of torch (%(default)s)")
    add("--max-batch-size", type=int, default=8, help="(%(default)s)")
    add("--json", type=Path, metavar="FILE", help="keep all that was found")
    add("--under", type=shlex.split, default=[], metavar="COMMAND", help="that measures are run under")
    add("--port", type=int, default=17500, help="(%(default)s)")
    return parser.parse_args(words)


def _setup(folder: Path, options: argparse.Namespace, kind: str, network: Path | None) -> Setup:
    folder.mkdir()
    return write_setup(folder, options, kind=kind, network=network)


def _stages(setup: Setup, options: argparse.Namespace) -> Any:  # noqa: ANN401  # JSON
    plan = stage_times.Plan(setup.network or "", setup.images, options.rounds, options.threads, options.max_batch_size)
    return _run("benchmarks.serving.stage_times", asdict(plan), options.under)


def _roofline(setup: Setup, row: str, number: int, options: argparse.Namespace, kind: str) -> dict[str, Any]:
    """Run the bare network, then the service, and give images a second of both."""
    plan = bare.Plan(
        setup.network or "",
        setup.images,
        SETTINGS[row],
        options.threads,
        BATCH_SIZES,
        options.seconds / len(BATCH_SIZES),
    )
    rates: Mapping[str, float] = _run("benchmarks.serving.bare", asdict(plan), options.under)
    visit = run_visit(Visit(row, number, [Load(clients=options.clients)]), setup, under=options.under)
    return {"images": kind, "row": row, "round": number, "bare": rates, "visit": visit}


def _http(setup: Setup, number: int, options: argparse.Namespace) -> dict[str, Any]:
    """Ask the service for an empty route and for masks of the empty network, and a server that does no work."""
    loads, brief = [Load(clients=1), Load(clients=8)], replace(setup, seconds=HTTP_SECONDS)
    kinds = {
        "empty route": (REFERENCE, EMPTY_ROUTE),
        "mask, empty network": (REFERENCE, None),
        TRIVIAL: (TRIVIAL, None),
    }
    return {
        kind: run_visit(Visit(row, number, loads, path=path), brief, under=options.under)["loads"]
        for kind, (row, path) in kinds.items()
    }


def _run(module: str, plan: Mapping[str, Any], under: Sequence[str]) -> Any:  # noqa: ANN401  # JSON
    """Run a module with a plan, with threads that sleep at barriers as the service's do, and give what it prints."""
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(plan, file)
        file.flush()
        done = subprocess.run(  # noqa: S603  # our own module
            [*under, sys.executable, "-m", module, file.name],
            cwd=ROOT,
            env={**os.environ, "OMP_WAIT_POLICY": "PASSIVE", "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            check=True,
        )
    return json.loads(done.stdout)


if __name__ == "__main__":
    sys.exit(main())
