"""Run a graph in OpenVINO, which is the quickest on most of Intel's and AMD's CPUs."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from service.runtimes.graph import RunGraph
from service.settings import PrecisionName

_HINTS: Mapping[PrecisionName, str] = {"float32": "f32", "bfloat16": "bf16"}


def compile_openvino(graph: bytes, num_threads: int, precision: PrecisionName) -> RunGraph | None:
    """Compile an ONNX graph for this machine's CPU, to compute in float32 or, where that is quick, in bfloat16."""
    import openvino  # type: ignore[import-untyped]  # noqa: PLC0415  # an extra, without stubs

    core = openvino.Core()
    if precision not in _HINTS or (
        precision != "float32" and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    ):
        return None
    options = {
        "INFERENCE_PRECISION_HINT": _HINTS[precision],  # or some CPUs would compute in fewer bits without a word
        "INFERENCE_NUM_THREADS": num_threads,
        "PERFORMANCE_HINT": "LATENCY",  # one pass at a time, with all threads
        "ENABLE_CPU_PINNING": False,  # the codec threads need these cores, too
    }
    compiled = core.compile_model(core.read_model(graph, b""), "CPU", options)
    request = compiled.create_infer_request()
    kept_bytes = 0

    def run(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        nonlocal kept_bytes
        if 2 * images.nbytes < kept_bytes:  # it keeps what the largest batch has needed, some hundreds of MB
            compiled.release_memory()
            kept_bytes = 0
        kept_bytes = max(kept_bytes, images.nbytes)
        # A copy, for the next pass writes to the same memory
        scores: NDArray[np.float32] = np.array(request.infer({0: images}, share_inputs=True)[0])
        return scores

    return run
