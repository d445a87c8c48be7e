"""Let the processes that ``torchrun`` starts train one network together, each on a share of every batch."""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Literal

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from training.errors import InvalidRecipe, TrainingError

PATIENCE = timedelta(hours=6)
"""How long processes wait for one that checks a large dataset before it begins."""


@dataclass(frozen=True, slots=True)
class Processes:
    """Say which of how many processes this is, and on which device it learns; ``local_rank`` is its number here."""

    rank: int = 0
    count: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def is_first(self) -> bool:
        """Say whether this is the one that writes files and talks to people."""
        return self.rank == 0

    def sum(self, values: Tensor) -> Tensor:
        """Add up what every process has, in place; all of them must call it."""
        if self.count > 1:
            on_device = values.to(self.device)
            distributed.all_reduce(on_device)
            values.copy_(on_device)
        return values

    def raise_together(self, error: Exception | None) -> None:
        """Raise what has gone wrong in the first process, in all of them: nobody then waits for one that has gone.

        Raises:
            TrainingError: the first process has called this with an error, which it raises itself.
        """
        if self.count > 1:
            told = [str(error) if error is not None else None]
            distributed.broadcast_object_list(told)
            if told[0] is not None and not self.is_first:
                raise TrainingError(told[0])
        if error is not None:
            raise error

    def wait(self) -> None:
        """Return when every process has come here."""
        if self.count > 1:
            distributed.barrier()

    def share(self, network: nn.Module, *, sync_norms: bool) -> nn.Module:
        """Give a module whose backward pass averages the gradients of all processes; alone, the network itself.

        With ``sync_norms`` batch norm is over the images of all processes. Torch has that for GPUs only: on CPUs every
        process counts its own images, and the statistics of the first are kept.
        """
        if self.count == 1:
            return network
        if self.device.type == "cpu":
            return DistributedDataParallel(network)
        if sync_norms:
            network = nn.SyncBatchNorm.convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]  # torch has none here
        return DistributedDataParallel(network, device_ids=[self.device])


ALONE = Processes()


@contextmanager
def joined(device: Literal["cpu", "cuda"]) -> Iterator[Processes]:
    """Meet the other processes that ``torchrun`` has started, if it has, and part from them in the end.

    Raises:
        InvalidRecipe: the device is a GPU and there is none for this process.
    """
    count, rank, local = (int(os.environ.get(name, default)) for name, default in _ENVIRONMENT)
    if device == "cuda" and local >= torch.cuda.device_count():
        found = torch.cuda.device_count()
        raise InvalidRecipe(
            "device = cuda: this machine has no GPU that torch can use"
            if not found
            else f"device = cuda: process {local} of this machine finds only {found} GPUs"
        )
    place = torch.device(device, local) if device == "cuda" else torch.device("cpu")
    if count == 1:
        yield Processes(device=place)
        return
    if device == "cuda":
        torch.cuda.set_device(place)
    _end_with_parent()
    distributed.init_process_group("nccl" if device == "cuda" else "gloo", timeout=PATIENCE)
    try:
        yield Processes(rank, count, place)
    finally:
        distributed.destroy_process_group()


def _end_with_parent() -> None:
    """Ask Linux to end this process when torchrun is killed, which could not tell it to."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "prctl"):
        libc.prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)


_SET_PARENT_DEATH_SIGNAL = 1
_ENVIRONMENT = (("WORLD_SIZE", "1"), ("RANK", "0"), ("LOCAL_RANK", "0"))
