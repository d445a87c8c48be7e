"""Run the rows of a suite that have no result yet, and write the page.

python -m benchmarks.reproductions --suite shapes [--only NAME ...] [--seeds 0 1] [--jobs 2] [--write-page]
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import torch

from benchmarks.reproductions.page import PAGE, effects, result_line, write_page
from benchmarks.reproductions.results import Results
from benchmarks.reproductions.runner import run_row
from benchmarks.reproductions.suites import SUITES, Suite
from training.errors import TrainingError

Task = tuple[str, int]
"""The name of a row and a seed."""


def main(words: Sequence[str] | None = None) -> int:
    """Run what is asked for and give the exit code."""
    options = _parser().parse_args(words)
    try:
        if options.suite:
            _run_suite(options)
    except (TrainingError, ValueError) as error:
        print(f"reproductions: {error}", file=sys.stderr)
        return 2
    if options.write_page:
        write_page()
        print(PAGE)
    return 0


def run_all(suite: Suite, tasks: Sequence[Task], *, out: Path, jobs: int, threads: int) -> Iterator[dict[str, Any]]:
    """Run rows in processes of their own, so many at a time, and give what comes of each as soon as it is there."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, context, torch.set_num_threads, (threads,)) as pool:
        futures = [pool.submit(run_row, suite, suite.row(name), seed, out) for name, seed in tasks]
        try:
            for future in as_completed(futures):
                yield future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _run_suite(options: argparse.Namespace) -> None:
    suite = SUITES[options.suite]
    results = Results(suite, options.results)
    rows = [suite.row(name) for name in options.only] if options.only else suite.rows
    options.out.mkdir(parents=True, exist_ok=True)
    if not results.path.parent.is_dir():
        raise ValueError(f"--results {results.path}: there is no folder {results.path.parent}")
    seeds = suite.seeds if options.seeds is None else options.seeds
    tasks = [(row.name, seed) for seed in seeds for row in rows if not results.has(row.name, seed)]
    print(f"{suite.name}: {len(tasks)} of {len(rows) * len(seeds)} runs to do, {options.jobs} at a time", flush=True)
    threads = options.threads or max(1, (os.cpu_count() or 1) // options.jobs)
    started = time.monotonic()
    for result in run_all(suite, tasks, out=options.out, jobs=options.jobs, threads=threads):
        results.add(result)
        print(result_line(result), flush=True)
    print(effects(results, "all"))
    print(f"{suite.name}: {time.monotonic() - started:.0f} s; results are in {results.path}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reproductions", description=__doc__)
    parser.add_argument("--suite", choices=SUITES, help="what to run")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these rows alone")
    parser.add_argument("--seeds", type=int, nargs="+", help="in place of the suite's own")
    parser.add_argument("--jobs", type=_count, default=2, help="runs at a time (%(default)s)")
    parser.add_argument("--threads", type=_count, help="of each run; by default the cores are shared out")
    parser.add_argument("--out", type=Path, default=Path("runs/reproductions"), help="folder of the runs (%(default)s)")
    parser.add_argument(
        "--results", type=Path, help="file of the results, in place of the one that the page is made of"
    )
    parser.add_argument("--write-page", action="store_true", help="write docs/reproductions.md from the results")
    return parser


def _count(text: str) -> int:
    if (number := int(text)) < 1:
        raise ValueError(text)
    return number


if __name__ == "__main__":
    sys.exit(main())
