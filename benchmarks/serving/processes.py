"""Look at a process and all that came of it: their time on the processors, their memory, their number (Linux).

A tree is named by the process at its root, which is not counted itself: it is ``supervise``, whose own work is nothing
but waiting, and which becomes the parent of whatever its descendants leave behind.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class _Process:
    pid: int
    parent: int
    is_zombie: bool
    own_ticks: int
    ended_ticks: int
    """Of its children that have ended and were waited for, and theirs."""


def descendants(root: int) -> list[int]:
    """Give the ids of the living processes below a root."""
    return [process.pid for process in _tree(root)[1:] if not process.is_zombie]


def cpu_seconds(root: int) -> float:
    """Give the time that all processes below a root have had on the processors, those that have ended included."""
    tree = _tree(root)
    ticks = sum(process.ended_ticks for process in tree[:1])
    return (ticks + sum(process.own_ticks + process.ended_ticks for process in tree[1:])) / _TICKS


def proportional_bytes(root: int) -> int:
    """Give the memory below a root; of pages that several share, each is given its part (PSS)."""
    return sum(_proportional_bytes(pid) for pid in descendants(root))


def _tree(root: int) -> list[_Process]:
    """Give the root and all below it, the root first; none if it has ended."""
    known = {process.pid: process for process in map(_read, _pids()) if process is not None}
    children: dict[int, list[_Process]] = {}
    for process in known.values():
        children.setdefault(process.parent, []).append(process)
    tree = [known[root]] if root in known else []
    for process in tree:  # grows while it is gone through
        tree += children.get(process.pid, [])
    return tree


def _pids() -> list[int]:
    return [int(name) for name in os.listdir(_PROC) if name.isdecimal()]  # noqa: PTH208  # often called: names are enough


def _read(pid: int) -> _Process | None:
    """Read ``/proc/PID/stat`` (proc(5)); None if the process has gone."""
    try:
        after_name = (_PROC / str(pid) / "stat").read_bytes().rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    own, ended = (sum(map(int, after_name[start : start + 2])) for start in (11, 13))
    return _Process(pid, int(after_name[1]), after_name[0] == b"Z", own, ended)


def _proportional_bytes(pid: int) -> int:
    with suppress(FileNotFoundError, ProcessLookupError):
        for line in (_PROC / str(pid) / "smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) << 10
    return 0
