"""Say on what a network was run, and nothing that is private."""

from __future__ import annotations

import platform
import re
from collections.abc import Mapping
from pathlib import Path

import torch

from model_zoo.machine import cpu_name

_HOMES = r"/(?:home|Users)/[^/\s:'\"]+|/root"
_END = r"(?![^/\s:'\"])"


def environment() -> Mapping[str, str]:
    """Give the versions and the hardware that numbers may depend on."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    return {
        "Python": platform.python_version(),
        "torch": torch.__version__,
        "system": f"{platform.system()}, {platform.machine()}",
        "CPU": cpu_name(),
        "threads": str(torch.get_num_threads()),
        "GPU": gpu,
    }


def hide_homes(text: str) -> str:
    """Write ``~`` for every home folder in a text: the user's own, and others where systems usually have them.

    Bytes of file names that are no UTF-8 are written as escapes, for JSON cannot hold them.
    """
    text = text.encode(errors="backslashreplace").decode()
    own = Path.home()
    homes = _HOMES if own == Path(own.anchor) else f"{re.escape(str(own))}|{_HOMES}"
    return re.sub(f"(?:{homes}){_END}", "~", text)
