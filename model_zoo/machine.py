"""Name the hardware that numbers depend on."""

from __future__ import annotations

import platform
import re
from pathlib import Path


def cpu_name() -> str:
    """Give the CPU's own name, or its family where the system does not tell it."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    found = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return found[1] if found else platform.processor() or platform.machine()
