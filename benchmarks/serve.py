"""Serve the same network with this service and with others, send all the same pictures, and print what came of it.

Run from the repository's root: ``python -m benchmarks.serve --network lraspp --images 256`` (``--help`` names the
options). Peers are those that ``benchmarks/peers/setup.sh`` has installed. One server runs at a time. In each round
every server is started, asked under every load and stopped; who comes first changes from round to round.

What is sent: in closed loops each of 1, 8 and 64 clients sends a picture as soon as it has the mask of the one before;
in open loops pictures come at random times (Poisson), at 50, 80 and 120 % of what that server answered at most in the
closed loops before, and, so that all are held against the same, at 80 % of what the slowest of them all did. Latency
counts from the time at which a picture was due. The client is a process of its own; every answer must have the status
200 and hold a PNG. Before the first round, masks are compared with those found without a server, in float32, in the
plainest way.

CPU is that of all processes of a server, those that have ended included; memory is their PSS, looked at once a second.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.peers import PEERS
from benchmarks.serving import images
from benchmarks.serving.networks import NULL, find_network, write_masks
from benchmarks.serving.report import render
from benchmarks.serving.results import Results, describe_run
from benchmarks.serving.rows import REFERENCE, ROWS, SETTINGS, TRIVIAL, is_installed
from benchmarks.serving.visit import Load, Setup, Visit, run_visit

TRIAL_CLIENTS = 8
COMMON_SHARE = 0.8
"""Of the capacity of the slowest server."""

QUICK: Mapping[str, Any] = {
    "rounds": 2,
    "clients": [8],
    "shares": [0.8],
    "seconds": 2.0,
    "minutes": 4.3,
    "trial": False,
}
"""What ``--quick`` makes of options that are not given: all peers within five minutes."""


def main(words: Sequence[str] | None = None) -> int:
    """Measure, print and keep; give the exit code, 1 if a server could not be measured."""
    words = sys.argv[1:] if words is None else words
    options = read_options(words)
    rows = [name for name in options.rows if is_installed(name)]
    for name in set(options.rows) - set(rows):
        print(f"{name} is left out: run benchmarks/peers/setup.sh {name} first", file=sys.stderr)
    shown = {key: value for key, value in vars(options).items() if key not in ("json", "under", "port")}
    results = Results(
        describe_run(words, [*rows, TRIVIAL], {**shown, "real_photos": images.is_real()}, module="benchmarks.serve")
    )
    for visit in visits(options, rows, results):
        print(_line(visit), file=sys.stderr, flush=True)
        results.visits.append(visit)
        if options.json:
            results.write(options.json)
    print(render(results))
    return 1 if any(visit["error"] for visit in results.visits) else 0


def visits(options: argparse.Namespace, rows: Sequence[str], results: Results) -> Iterator[dict[str, Any]]:
    """Visit one server after the other, round after round; round 0 is a trial that warms the machine's file cache."""
    network = find_network(options.network)
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        setup = write_setup(Path(name), options, kind=options.images, network=network)
        if network is not None:
            write_masks(network, Path(setup.images), Path(setup.masks))
        clients = [Load(clients=count) for count in options.clients]
        yield run_visit(Visit(row=TRIVIAL, round=1, loads=clients), setup, under=options.under)
        for number in range(0 if options.trial else 1, options.rounds + 1):
            loads = _loads(options, results) if number else [Load(clients=TRIAL_CLIENTS)]
            for row in turned(rows, number):
                if options.minutes and time.monotonic() > started + 60 * options.minutes:
                    print(f"{row} is left out of round {number}: the time is over", file=sys.stderr)
                    continue
                is_compared = network is not None and row not in results.rows
                yield run_visit(Visit(row, number, loads, is_compared), setup, under=options.under)


def turned(rows: Sequence[str], number: int) -> list[str]:
    """Give the servers in the order of a round: those in front come last in the next."""
    start = number % len(rows)
    return [*rows[start:], *rows[:start]]


def read_options(words: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add(
        "--network",
        default="lraspp",
        help="default, default-256, lraspp, null (empty), or a checkpoint (%(default)s)",
    )
    add("--images", default="256", choices=images.SETS, help="the pictures that are sent (%(default)s)")
    add(
        "--own",
        type=_names,
        help=f"rows of this service, by commas ({','.join(SETTINGS)}; of the empty network the first)",
    )
    add("--peers", type=_names, default=list(PEERS), help=f"peers, by commas, or nothing ({','.join(PEERS)})")
    add("--rounds", type=int, default=3, help="how often each server is measured (%(default)s)")
    add("--clients", type=int, nargs="*", default=[1, 8, 64], help="closed loops (1 8 64)")
    add("--shares", type=float, nargs="*", default=[0.5, 0.8, 1.2], help="open loops, of own capacity (0.5 0.8 1.2)")
    add("--rate", type=float, nargs="*", default=[], help="open loops at so many pictures a second, the same for all")
    add("--seconds", type=float, default=5.0, help="of each load, at least (%(default)s)")
    add("--minutes", type=float, help="after so many no further server is started")
    add("--threads", type=int, default=len(os.sched_getaffinity(0)), help="of torch (%(default)s)")
    add("--max-batch-size", type=int, default=8, help="(%(default)s)")
    add("--no-trial", dest="trial", action="store_false", help="no round 0; then there is no common rate in round 1")
    add("--quick", action="store_true", help="less of all: ends within 5 minutes")
    add("--json", type=Path, metavar="FILE", help="keep all that was found, after every server")
    add(
        "--under",
        type=shlex.split,
        default=[],
        metavar="COMMAND",
        help="that measures are run under, as 'taskset -c 0,1'",
    )
    add("--port", type=int, default=17500, help="(%(default)s)")
    options = parser.parse_args(words)
    if options.quick:
        parser.set_defaults(**QUICK)
        options = parser.parse_args(words)
    if options.own is None:
        options.own = [REFERENCE] if options.network == NULL else list(SETTINGS)
    options.rows = [*options.own, *options.peers]
    for name in options.rows:
        if name not in ROWS:
            parser.error(f"no server is called {name}; known are {', '.join(ROWS)}")
    return options


def _names(text: str) -> list[str]:
    return [name for name in text.split(",") if name]


def write_setup(folder: Path, options: argparse.Namespace, *, kind: str, network: Path | None) -> Setup:
    """Write the pictures, and say what all visits have in common."""
    photos, masks = folder / "images", folder / "masks"
    photos.mkdir()
    masks.mkdir()
    for number, jpeg in enumerate(images.make(kind)):
        (photos / f"{number:03}.jpg").write_bytes(jpeg)
    return Setup(
        network=None if network is None else str(network),
        images=str(photos),
        masks=str(masks),
        log=str(folder / "log"),
        port=options.port,
        threads=options.threads,
        max_batch_size=options.max_batch_size,
        seconds=options.seconds,
    )


def _loads(options: argparse.Namespace, results: Results) -> list[Load]:
    """Give the loads of a round: the common rate is known once every server has been tried."""
    capacity = results.slowest_trial()
    common = [Load(rate=float(f"{COMMON_SHARE * capacity:.2g}"))] if capacity else []
    return [
        *(Load(clients=count) for count in options.clients),
        *(Load(share=share) for share in options.shares),
        *common,
        *(Load(rate=rate) for rate in options.rate),
    ]


def _line(visit: Mapping[str, Any]) -> str:
    """Say in a line what a visit found."""
    told = [f"ready {visit['ready_seconds']:.1f} s", f"idle {visit['idle_bytes'] / 1e6:.0f} MB"]
    told += [f"{load} {found.get('images_per_second', 0):.1f}/s" for load, found in visit["loads"].items()]
    return f"{visit['row']} in round {visit['round']}: {visit['error'] or ', '.join(told)}"


if __name__ == "__main__":
    sys.exit(main())
