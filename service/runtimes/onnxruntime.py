"""Run a network in ONNX Runtime, which is quick on the CPUs of every maker."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from model_zoo.checkpoint import Checkpoint
from model_zoo.onnx_graph import INPUT
from service.runtimes.graph import RunGraph, build_graph
from service.runtimes.runtime import Runtime
from service.settings import Settings

NAME = "onnxruntime"


def build_onnxruntime(checkpoint: Checkpoint, device: torch.device, settings: Settings) -> Runtime:
    """Give a runtime that computes in float32 on the CPU.

    Raises:
        BadSetting: The device is no CPU.
        CannotTrace: The network has no graph, or none that gives its scores.
    """
    return build_graph(NAME, checkpoint, device, settings, _compiled)


def _compiled(graph: bytes, num_threads: int) -> RunGraph:
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
