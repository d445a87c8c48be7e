"""Run a server so that all of its processes can be found, and ended, whatever they do.

Run: ``python -m benchmarks.serving.supervise COMMAND...``. Processes that lose their parent become children of this
one (``PR_SET_CHILD_SUBREAPER``). SIGTERM goes to the server; what is left once it has ended, or has had its time, is
killed, also if whoever started this has gone (``PR_SET_PDEATHSIG``). The exit code is the server's.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress

from benchmarks.serving.processes import descendants

PATIENCE = 15.0
"""Seconds that a server has to stop after SIGTERM."""

_FOREVER = 1e6
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_HEARD = (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)


def main(command: Sequence[str]) -> int:
    """Run the command to its end and give its exit code."""
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    prctl(_PR_SET_CHILD_SUBREAPER, 1)
    prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM))
    server = subprocess.Popen(command)  # noqa: S603  # whoever started this chose the command
    signal.pthread_sigmask(signal.SIG_BLOCK, _HEARD)
    code = _wait(server.pid)
    _kill_rest()
    return code


def _wait(server: int) -> int:
    """Wait for the server, and for whatever else ends, and give its exit code; -9 once its time is over."""
    deadline: float | None = None
    while True:
        ended = dict(_reap())
        if server in ended:
            return ended[server]
        left = _FOREVER if deadline is None else max(0.0, deadline - time.monotonic())
        heard = signal.sigtimedwait(_HEARD, left)
        if heard is None and deadline is not None:
            return -signal.SIGKILL
        if heard is not None and heard.si_signo != signal.SIGCHLD and deadline is None:
            deadline = time.monotonic() + PATIENCE
            with suppress(ProcessLookupError):
                os.kill(server, signal.SIGTERM)


def _reap() -> list[tuple[int, int]]:
    """Give id and exit code of every child that has ended."""
    ended = []
    with suppress(ChildProcessError):
        while (found := os.waitpid(-1, os.WNOHANG))[0]:
            ended.append((found[0], os.waitstatus_to_exitcode(found[1])))
    return ended


def _kill_rest() -> None:
    while left := descendants(os.getpid()):
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        signal.sigtimedwait([signal.SIGCHLD], 0.1)
        _reap()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
