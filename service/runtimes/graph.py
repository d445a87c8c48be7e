"""Run a network as a graph, in a library that has compiled it for this machine's CPU.

What such a library takes in and gives out is the same for all: images of any size go in as bytes, for normalisation is
a part of the graph, and scores come out as coarse as the network makes them, for the masks are found as ever.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from model_zoo.checkpoint import Checkpoint
from model_zoo.onnx_graph import CannotTrace, trace_graph
from model_zoo.predict import predict_with
from model_zoo.preprocess import NetworkInput, normalise
from model_zoo.segmentation import Segmentation, Wanted
from model_zoo.spec import Prediction
from service.devices import pick_devices, threads_for
from service.precision import precision_for
from service.runtimes.lowering import objection_to
from service.runtimes.runtime import Runtime
from service.settings import BadSetting, PrecisionName, Settings

log = logging.getLogger(__name__)

RunGraph = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
"""Map images, uint8 ``[B, C, h, w]``, to scores; called from one thread."""

CompileGraph = Callable[[bytes, int, PrecisionName], RunGraph | None]
"""Make an ONNX graph ready to be run by so many threads in a precision; nothing where it cannot be, but for float32."""

_OPSET = 17
_COMPARED_SIZES = ((64, 96), (160, 32))
_TOLERANCE = 1e-4
"""Of the largest score; rounding in another order gives less than a tenth of it."""


@dataclass(frozen=True, slots=True)
class GraphRuntime:
    """Hold a compiled graph; ``is_coarse`` and ``align_corners`` say how its scores are to be upsampled."""

    run: RunGraph
    is_coarse: bool
    align_corners: bool
    weights_bytes: int
    precision_note: str | None = None
    precision: str = "float32"

    def __call__(self, inputs: Sequence[NetworkInput], wanted: Sequence[Wanted]) -> list[Segmentation]:
        """Segment a batch."""
        return predict_with(self._forward, inputs, wanted=wanted)

    def logits(self, inputs: Sequence[NetworkInput]) -> torch.Tensor:
        """Give the logits ``[B, C, h, w]`` of images of one shape."""
        return self._forward(inputs).logits

    def _forward(self, inputs: Sequence[NetworkInput]) -> Prediction:
        images = np.stack([item.pixels.numpy() for item in inputs])
        scores = torch.from_numpy(self.run(images))
        size = (images.shape[2], images.shape[3]) if self.is_coarse else None
        return Prediction(scores, size=size, align_corners=self.align_corners)


def build_graph(
    name: str, compiled: CompileGraph, checkpoint: Checkpoint, device: torch.device, settings: Settings
) -> Runtime:
    """Trace a checkpoint's network, have it ``compiled`` for so many threads, and give the runtime of this ``name``.

    It computes in the precision that the settings ask for or, where masks would suffer, in float32.

    Raises:
        BadSetting: The device is no CPU.
        CannotTrace: The network has no graph, or none that gives its scores.
    """
    if device.type != "cpu":
        raise BadSetting(f"bad setting runtime={name}: it runs on CPUs alone, not on {device}")
    network, spec = checkpoint.network, checkpoint.header.spec
    threads = threads_for(pick_devices(settings.device), wanted=settings.torch_threads)
    graph = trace_graph(network, spec, opset=_OPSET, as_scores=True)
    run = compiled(graph, threads, "float32")
    assert run is not None, name
    for height, width in _COMPARED_SIZES:
        images = torch.randint(256, (1, len(spec.input.mean), height, width), dtype=torch.uint8)
        with torch.inference_mode():
            expected: Prediction = network(normalise(images, spec.input))
        _check_same(expected.scores, torch.from_numpy(run(images.numpy())), where=f"{name}, {height}x{width} pixels")
    plain = GraphRuntime(
        run,
        is_coarse=expected.size is not None,
        align_corners=expected.align_corners,
        weights_bytes=sum(tensor.nbytes for tensor in (*network.parameters(), *network.buffers())),
    )
    asked = precision_for(settings.precision, device)
    if asked == "float32":
        return plain
    lower_run = compiled(graph, threads, asked)
    lower = None if lower_run is None else replace(plain, run=lower_run, precision=asked)
    reason = f"{name} computes in float32 here" if lower is None else objection_to(lower.logits, plain.logits, spec)
    if lower is not None and reason is None:
        return lower
    note = f"{asked} was asked for, but {reason}"
    log.warning("network falls back to float32", extra={"model": checkpoint.header.name, "reason": note})
    return replace(plain, precision_note=note)


def _check_same(expected: torch.Tensor, found: torch.Tensor, *, where: str) -> None:
    """Raise ``CannotTrace`` unless scores differ by rounding alone: a trace follows one branch where there are two."""
    if expected.shape != found.shape:
        raise CannotTrace(f"the graph gives {tuple(found.shape)} scores ({where}), torch {tuple(expected.shape)}")
    difference = (expected - found).abs().max() / expected.abs().max()
    if not difference <= _TOLERANCE:  # NaN is refused, too
        raise CannotTrace(f"the graph differs from torch by {difference:.1e} of the largest score ({where})")
