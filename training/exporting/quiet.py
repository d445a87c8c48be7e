"""Keep torch's exporter from talking to whoever exports."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

STDOUT = 1


@contextmanager
def quiet() -> Iterator[None]:
    """Drop warnings, and what is written to the terminal below Python: where torch fails, it prints the whole trace."""
    sys.stdout.flush()
    kept, nowhere = os.dup(STDOUT), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, STDOUT)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of branches that depend on sizes, and that this exporter has a successor
            yield
    finally:
        os.dup2(kept, STDOUT)
        os.close(kept)
        os.close(nowhere)
