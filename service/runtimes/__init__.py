"""List the ways to run a model."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from importlib.util import find_spec

from service.runtimes.graph import build_graph
from service.runtimes.null import build_null
from service.runtimes.onnxruntime import compile_onnxruntime
from service.runtimes.openvino import compile_openvino
from service.runtimes.runtime import RuntimeBuilder
from service.runtimes.torch import build_torch

RUNTIMES: Mapping[str, RuntimeBuilder] = {
    "torch": build_torch,
    "openvino": partial(build_graph, "openvino", compile_openvino),
    "onnxruntime": partial(build_graph, "onnxruntime", compile_onnxruntime),
    "null": build_null,
}


def is_installed(name: str) -> bool:
    """Tell whether the library of a runtime, which has its name, is there; ``null`` needs none."""
    return name == "null" or find_spec(name) is not None
