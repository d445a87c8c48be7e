"""Tell of a file that was written, which is there whether or not anybody listens."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from pathlib import Path


def tell(lines: Iterable[str], *, of: Path) -> None:
    """Print lines about a file; where they cannot be printed, that is no failure."""
    try:
        print("\n".join(lines), flush=True)
    except OSError as error:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())  # or what is still to be printed would fail again when Python ends
        os.close(nowhere)
        if not isinstance(error, BrokenPipeError):  # whoever reads has had enough, as ``head`` has
            print(f"segtrain: {of} is written, but not what is told of it: {error.strerror}", file=sys.stderr)
