"""List the ways to run a model."""

from __future__ import annotations

from collections.abc import Mapping

from service.runtimes.null import build_null
from service.runtimes.runtime import RuntimeBuilder
from service.runtimes.torch import build_torch

RUNTIMES: Mapping[str, RuntimeBuilder] = {
    "torch": build_torch,
    "null": build_null,
}
