"""Write a run's numbers as TensorBoard events, so that a run can be watched while it goes on.

The writer is torch's own: tensorboardX needs less beside it, but its ``flush`` returns while events still wait in its
queue, so that a kill loses them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

PATIENCE = 1
"""Seconds for which its thread sleeps at most: an interrupt can lose that it was woken, and ``close`` waits for it."""


class Events:
    """Add numbers by step to a new file of events in ``folder``, beside the files of earlier starts of the run.

    What earlier starts wrote of ``first_step`` and later steps is hidden from readers: this start writes it anew.
    """

    def __init__(self, folder: Path, *, first_step: int) -> None:
        """Begin a file; ``first_step`` is 0 for a run that starts anew.

        Raises:
            OSError: the folder cannot be written.
        """
        self._writer = SummaryWriter(str(folder), purge_step=first_step, flush_secs=PATIENCE)

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """Note values by their names, such as ``loss`` or ``val/miou``."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def flush(self) -> None:
        """Hand everything to the system: a kill loses nothing that was added before."""
        self._writer.flush()

    def close(self) -> None:
        """Flush, and end the file."""
        self._writer.close()
