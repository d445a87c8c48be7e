"""Start a peer, hold its masks against those of the same work done directly, and stop it.

Run: ``python -m benchmarks.peers NAME [--network FILE] [--port 17000]``; without a network, the empty one.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.peers import PEERS, Task
from benchmarks.peers.running import ROOT, LeftBehind, NotReady, ask, running

LONGEST_SIDES = (451, 256, 129)


def main(words: Sequence[str] | None = None) -> int:
    """Try one peer; give the exit code: 0 it answers as it should and leaves nothing behind, 1 it does not."""
    options = _parser().parse_args(words)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the peer is stopped then, too
    peer, task = PEERS[options.name], Task(options.network)
    os.environ.update(peer.environment(task))
    from benchmarks.peers.work import load  # noqa: PLC0415  # torch reads its variables when it is imported

    work = load(task)
    jpegs = list(pictures(ROOT / "examples/cat.jpg"))
    wrong = 0
    try:
        started = time.monotonic()
        with running(peer, task, options.port) as url:
            print(f"{peer.name} is ready after {time.monotonic() - started:.1f} s")
            for jpeg in jpegs:
                png, wanted = ask(peer, url, jpeg), work([jpeg])[0]
                is_equal = np.array_equal(pixels(png), pixels(wanted))
                wrong += not is_equal
                size = pixels(png).shape
                print(f"{len(jpeg)} bytes -> {len(png)} bytes, mask {size}, {'equal' if is_equal else 'DIFFERENT'}")
    except (NotReady, LeftBehind, OSError) as error:
        print(f"{peer.name}: {error}", file=sys.stderr)
        return 1
    print(f"{peer.name} is stopped and has left no process")
    return 1 if wrong else 0


def pictures(path: Path) -> Iterator[bytes]:
    """Give a picture and smaller copies as JPEGs."""
    with Image.open(path) as image:
        for side in LONGEST_SIDES:
            copy, output = image.copy(), BytesIO()
            copy.thumbnail((side, side))
            copy.save(output, "JPEG", quality=90)
            yield output.getvalue()


def pixels(png: bytes) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Give the class of every pixel of a mask ``[H, W]``."""
    return np.asarray(Image.open(BytesIO(png)))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__)
    parser.add_argument("name", choices=sorted(PEERS))
    parser.add_argument("--network", type=Path, metavar="FILE", help="a checkpoint")
    parser.add_argument("--port", type=int, default=17000)
    return parser


if __name__ == "__main__":
    sys.exit(main())
