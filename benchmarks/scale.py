"""Measure how the service scales with clients, images' size, classes, models, cores and replicas.

Run from the repository's root: ``python -m benchmarks.scale --json benchmarks/results/scale.json`` (``--help`` names
the options). A point starts the service, asks it in closed loops and stops it; its findings are kept at once, and a
point that is in the file already is left out. ``python -m benchmarks.serving.page`` makes tables, plots and the cost
model of the file.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.scaling.networks import model_names, network_of
from benchmarks.scaling.points import OWN, PARTS, Point, points
from benchmarks.scaling.report import render
from benchmarks.scaling.results import Results
from benchmarks.serve import write_setup
from benchmarks.serving import images
from benchmarks.serving.results import describe_run
from benchmarks.serving.visit import Load, Visit, run_visit


def main(words: Sequence[str] | None = None) -> int:
    """Measure what is missing, keep it after every point, and print it all."""
    words = sys.argv[1:] if words is None else words
    options = read_options(words)
    shown = {key: value for key, value in vars(options).items() if key not in ("json", "port", "minutes", "again")}
    about = describe_run(words, OWN, {**shown, "real_photos": images.is_real()}, module="benchmarks.scale")
    is_there = options.json is not None and options.json.is_file()
    results = Results(about, Results.read(options.json).found if is_there else ())
    started = time.monotonic()
    for number in range(1, options.rounds + 1):
        for point in points(options.parts):
            if results.has(point, number) and not options.again:
                continue
            if options.minutes and time.monotonic() > started + 60 * options.minutes:
                print("the time is over; run it again for the rest", file=sys.stderr)
                return 0
            visit = measure(point, number, options)
            print(_line(point, visit), file=sys.stderr, flush=True)
            results.add(point, number, visit)
            if options.json:
                results.write(options.json)
    print(render(results))
    return 0


def measure(point: Point, number: int, options: argparse.Namespace) -> dict[str, Any]:
    """Start what a point says, ask it under each load, and give what was found."""
    models = model_names(point.num_models) if point.num_models > 1 else []
    settings = {**point.settings, **({"default_model": models[0]} if models else {})}
    loads = [Load(clients=count) for count in point.clients]
    with tempfile.TemporaryDirectory() as folder:
        setup = write_setup(Path(folder), options, kind=point.images, network=network_of(point))
        return run_visit(
            Visit(point.row, number, loads, settings=settings, models=models, cores=point.cores),
            setup,
        )


def read_options(words: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--parts", type=lambda text: text.split(","), default=list(PARTS), help=f"by commas ({','.join(PARTS)})")
    add("--rounds", type=int, default=1, help="how often each point is measured (%(default)s)")
    add("--seconds", type=float, default=3.0, help="of each load, at least (%(default)s)")
    add("--minutes", type=float, help="after so many no further point is begun")
    add("--threads", type=int, default=len(os.sched_getaffinity(0)), help="of torch (%(default)s)")
    add("--max-batch-size", type=int, default=8, help="(%(default)s)")
    add("--again", action="store_true", help="measure points that are in the file, too")
    add("--json", type=Path, metavar="FILE", help="keep all that was found, and go on from there")
    add("--port", type=int, default=17800, help="(%(default)s)")
    options = parser.parse_args(words)
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"no part is called {', '.join(sorted(unknown))}; known are {', '.join(PARTS)}")
    return options


def _line(point: Point, visit: Mapping[str, Any]) -> str:
    """Say in a line what a point found."""
    told = [f"{load} {found['images_per_second']:.1f}/s {found['failures']}" for load, found in visit["loads"].items()]
    return f"{point.part}, {point.name}, {point.row}: {visit['error'] or '; '.join(told)}"


if __name__ == "__main__":
    sys.exit(main())
