"""Keep torch's exporter from talking to whoever exports."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

STDOUT = 1


@contextmanager
def quiet() -> Iterator[None]:
    """Drop what is written to the terminal below Python: where torch fails, it prints the whole trace."""
    if sys.stdout is None:  # it was closed before Python began, and any file may have its number by now
        yield
        return
    sys.stdout.flush()
    kept, nowhere = os.dup(STDOUT), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, STDOUT)
    try:
        yield
    finally:
        os.dup2(kept, STDOUT)
        os.close(kept)
        os.close(nowhere)
