"""Say what is served, and what there is to know of a peer server."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from socket import socket

_PREFIX = "PEER_"


@dataclass(frozen=True, slots=True)
class Task:
    """Say what is served.

    ``network`` is a checkpoint file, ``None`` the empty network: all is done but for the network.
    ``threads`` are torch's. ``max_delay`` is in seconds; a peer that gathers no batch while it is busy waits at least
    as long as its ``patience`` says.
    """

    network: Path | None = None
    threads: int = 2
    max_batch_size: int = 8
    max_delay: float = 0.0

    def variables(self, *, patience: float = 0.0) -> Mapping[str, str]:
        """Give the environment in which a server that reads it serves this task, and torch's threads sleep."""
        return {
            f"{_PREFIX}NETWORK": "" if self.network is None else str(self.network.resolve()),
            f"{_PREFIX}THREADS": str(self.threads),
            f"{_PREFIX}MAX_BATCH_SIZE": str(self.max_batch_size),
            f"{_PREFIX}MAX_DELAY": str(max(self.max_delay, patience)),
            "OMP_NUM_THREADS": str(self.threads),
            "OMP_WAIT_POLICY": "PASSIVE",
        }


def read_task(environ: Mapping[str, str]) -> Task:
    """Give the task that ``Task.variables`` has put there."""
    network = environ[f"{_PREFIX}NETWORK"]
    return Task(
        Path(network) if network else None,
        int(environ[f"{_PREFIX}THREADS"]),
        int(environ[f"{_PREFIX}MAX_BATCH_SIZE"]),
        float(environ[f"{_PREFIX}MAX_DELAY"]),
    )


def free_port() -> int:
    """Give a port that nobody listens on, for what a peer opens beside the port that it is asked on."""
    with closing(socket()) as found:
        found.bind(("127.0.0.1", 0))
        number: int = found.getsockname()[1]
        return number


@dataclass(frozen=True, slots=True)
class Peer:
    """Say how a peer is started and spoken to.

    ``version_of`` is the distribution whose version is told; ``command`` gives the words that serve a task on a port of
    127.0.0.1, in the foreground; a GET of ``ready_path`` answers 200 once masks can be asked for. ``request`` makes
    path, headers and body of the POST from the bytes of a JPEG, ``answer`` finds the mask's PNG in the response's body.
    """

    name: str
    version_of: str
    command: Callable[[Task, int], Sequence[str]]
    environment: Callable[[Task], Mapping[str, str]]
    ready_path: str
    request: Callable[[bytes], tuple[str, Mapping[str, str], bytes]]
    answer: Callable[[bytes], bytes]
