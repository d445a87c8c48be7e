"""Run a graph in ONNX Runtime, which is quick on the CPUs of every maker."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from model_zoo.onnx_graph import INPUT
from service.runtimes.graph import RunGraph
from service.settings import PrecisionName


def compile_onnxruntime(graph: bytes, num_threads: int, precision: PrecisionName) -> RunGraph | None:
    """Make ready an ONNX graph for this machine's CPU, to compute in float32; it has nothing else for CPUs."""
    if precision != "float32":
        return None
    import onnxruntime  # type: ignore[import-untyped]  # noqa: PLC0415  # an extra, without stubs

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = num_threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # the codec threads need these cores, too
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])

    def run(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        scores: NDArray[np.float32] = session.run(None, {INPUT: images})[0]
        return scores

    return run
