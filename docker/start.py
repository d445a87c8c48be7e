"""Say what a process that is killed for memory cannot say any more, then become the service.

python start.py ARGUMENTS-OF-SEGSERVE
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

LEAST_MEMORY = 1 << 30
"""What the service takes with the checkpoint that ships, once it answers, and a little more."""
_LIMITS = ("memory.max", "memory/memory.limit_in_bytes")


def memory_limit(cgroup: Path) -> int | None:
    """Give the bytes that a control group grants, of version 2 or 1; nothing where it bounds none."""
    for name in _LIMITS:
        try:
            return int((cgroup / name).read_text())
        except (OSError, ValueError):  # not there, or "max"
            continue
    return None


def warning(limit: int | None) -> str | None:
    """Say what a limit on memory will lead to, if it is too low."""
    if limit is None or limit >= LEAST_MEMORY:
        return None
    return (
        f"segserve: this container may use {limit >> 20} MiB of memory, and the service needs {LEAST_MEMORY >> 20} MiB "
        "or more: if it ends now with exit code 137, that is why. Raise --memory (SEGMENT_MEMORY of the compose file)."
    )


def main() -> None:
    """Warn, and go on as segserve, under the same process id."""
    told = warning(memory_limit(Path("/sys/fs/cgroup")))
    if told is not None:
        sys.stderr.write(told + "\n")
        sys.stderr.flush()
    os.execvp("segserve", ["segserve", *sys.argv[1:]])  # noqa: S606, S607  # nosec B606 B607  # by the image's own path


if __name__ == "__main__":
    main()
