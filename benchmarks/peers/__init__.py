"""Serve the same task with the servers that others offer, each in an environment of its own, to compare with them.

``benchmarks/peers/setup.sh`` makes the environments, ``python -m benchmarks.peers NAME`` tries one peer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from benchmarks.peers.peer import Peer, Task

__all__ = ["ENVIRONMENTS", "PEERS", "Peer", "Task"]

ROOT = Path(__file__).parents[2]

ENVIRONMENTS = Path("runs/peers")
"""Where the environments are, seen from the root of the repository, in which the peers are started."""


def _python(name: str, *words: str) -> Callable[[Task, int], Sequence[str]]:
    """Give the command that runs a module of this package with a port, in the peer's own environment."""
    return lambda _, port: [str(ENVIRONMENTS / name / "bin/python"), "-m", *words, str(port)]


def _environment(*, patience: float = 0.0, **more: str) -> Callable[[Task], Mapping[str, str]]:
    return lambda task: {**task.variables(patience=patience), "PYTHONPATH": str(ROOT), **more}


def _raw(jpeg: bytes) -> tuple[str, Mapping[str, str], bytes]:
    return "/segment", {"Content-Type": "image/jpeg"}, jpeg


def _whole(body: bytes) -> bytes:
    return body


_PATIENCE = 0.005
"""Seconds for which those peers wait for company that gather no batch while they are busy."""

PEERS: Mapping[str, Peer] = {
    "plain": Peer(
        name="plain",
        version_of="fastapi",
        command=_python("plain", "benchmarks.peers.plain_server"),
        environment=_environment(),
        ready_path="/health",
        request=_raw,
        answer=_whole,
    ),
    "litserve": Peer(
        name="litserve",
        version_of="litserve",
        command=_python("litserve", "benchmarks.peers.litserve_api"),
        environment=_environment(patience=_PATIENCE),
        ready_path="/health",
        request=_raw,
        answer=_whole,
    ),
}
