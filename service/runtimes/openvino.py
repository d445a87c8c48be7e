"""Run a graph in OpenVINO, which is the quickest on most of Intel's and AMD's CPUs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.runtimes.graph import RunGraph
from service.settings import PrecisionName

_HINTS: Mapping[PrecisionName, str] = {"float32": "f32", "bfloat16": "bf16"}


def compile_openvino(graph: bytes, num_threads: int, precision: PrecisionName) -> RunGraph | None:
    """Compile an ONNX graph for this machine's CPU, to compute in float32 or, where that is quick, in bfloat16."""
    core, capabilities = _core()
    if precision not in _HINTS or (precision == "bfloat16" and "BF16" not in capabilities):
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


@cache
def _core() -> tuple[Any, Sequence[str]]:
    """Give the one core of this process, and what its CPU is capable of.

    Its plug-in puts a stack for signals under the thread that it is made in, and unmaps it when it dies, in whatever
    thread: the next signal would end the process. So it is made in a thread that has no other use, and never dies.
    """
    with ThreadPoolExecutor(1, "openvino") as pool:
        return pool.submit(_make_core).result()


def _make_core() -> tuple[Any, Sequence[str]]:
    import openvino  # type: ignore[import-untyped]  # noqa: PLC0415  # an extra, without stubs

    core = openvino.Core()
    return core, tuple(core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"))
