"""Trace a network into an ONNX graph that takes images of any size.

The graph is made by torch's tracing exporter. Its successor, which reasons about sizes as symbols, needs minutes where
this needs a second, and cannot express a U-Net with ``padding="valid"``. A trace gets wrong without a word what depends
on the size: it follows one branch where the code has two, that of the size that it was shown. So whoever makes a graph
compares it with its network at other sizes.

Letters: B batch, K channels of the image, C classes, H and W height and width, h and w size of the scores.
"""

from __future__ import annotations

import copy
import io
import warnings
from typing import Any

import torch
from torch import Tensor, nn

from model_zoo.efficientnet_lite import SameConv2d
from model_zoo.spec import InputRule, ModelSpec

INPUT, LOGITS, SCORES = "images", "logits", "scores"
"""The names of what goes in and of what comes out."""

MAX_BYTES = (1 << 31) - (16 << 20)
"""A file of Protocol Buffers is below 2 GiB; the graph itself takes little of it."""

TRACED_SIZE = (2, 71, 93)
"""Batch, height and width of the images that the trace is shown: odd sizes, which need padding everywhere."""


class CannotTrace(ValueError):
    """A network has no ONNX graph: it is too large for one, or holds what ONNX has no operation for."""


def trace_graph(network: nn.Module, spec: ModelSpec, *, opset: int, as_scores: bool = False) -> bytes:
    """Give an ONNX graph that maps images, uint8 ``[B, K, H, W]``, to float32 logits ``[B, C, H, W]``.

    Args:
        network: in eval mode, in float32 on the CPU; it is left as it is.
        spec: the spec that the network was built from.
        opset: version of ONNX's operations.
        as_scores: what comes out are the ``scores`` ``[B, C, h, w]`` of the prediction, not upsampled.

    Raises:
        CannotTrace: torch cannot express the network so, or it is too large for one file.
    """
    num_bytes = sum(tensor.nbytes for tensor in network.state_dict().values())
    if num_bytes > MAX_BYTES:
        raise CannotTrace(f"the weights are {num_bytes} bytes, an ONNX file without others beside it holds {MAX_BYTES}")
    return _trace(_Graph(network, spec.input, as_scores=as_scores), len(spec.input.mean), opset)


class _Graph(nn.Module):
    """Hold what is traced: normalisation, network, and nothing but its scores or logits."""

    def __init__(self, network: nn.Module, rule: InputRule, *, as_scores: bool) -> None:
        super().__init__()
        weights = {id(tensor): tensor for tensor in (*network.parameters(), *network.buffers())}
        self.network = copy.deepcopy(network, weights)  # shares the weights, so that layers alone are copied
        self.mean, self.std = (255 * torch.tensor(values).view(-1, 1, 1) for values in (rule.mean, rule.std))
        self.output = SCORES if as_scores else LOGITS
        for name, layer in network.named_modules():
            if isinstance(layer, SameConv2d) and layer.stride != (1, 1):
                self.network.set_submodule(name, _SameConvolution(layer))

    def forward(self, images: Tensor) -> Tensor:
        """Map images, uint8 ``[B, K, H, W]``, to logits ``[B, C, H, W]`` or scores ``[B, C, h, w]``."""
        # What preprocess.normalise does, out of place: a trace would take its constants as they are after the change
        normalised = (images.float() - self.mean) / self.std
        prediction = self.network(normalised)
        found: Tensor = prediction.scores if self.output == SCORES else prediction.logits
        return found


class _SameConvolution(nn.Module):
    """Stand for a layer whose padding depends on the size, which ONNX has an operation for and a trace has not."""

    def __init__(self, layer: SameConv2d) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, features: Tensor) -> Tensor:
        """Map ``[B, F, H, W]`` to ``[B, F', ceil(H/stride), ceil(W/stride)]``."""
        layer = self.layer
        found: Tensor = _SameUpper.apply(features, layer.weight, layer)
        return found


class _SameUpper(torch.autograd.Function):
    """Be a ``SameConv2d`` in a trace: there it is one operation of ONNX, which has its own rule for such padding."""

    @staticmethod
    def forward(_context: object, features: Tensor, weight: Tensor, layer: SameConv2d) -> Tensor:
        """Give zeros ``[B, F', ceil(H/stride), ceil(W/stride)]``: a trace looks at the shape alone."""
        height, width = (-(-size // stride) for size, stride in zip(features.shape[-2:], layer.stride, strict=True))
        return features.new_zeros(len(features), len(weight), height, width)

    @staticmethod
    def symbolic(graph: Any, features: Any, weight: Any, layer: SameConv2d) -> Any:  # noqa: ANN401  # torch's own
        """Give the operation."""
        return graph.op(
            "Conv",
            features,
            weight,
            auto_pad_s="SAME_UPPER",
            strides_i=layer.stride,
            dilations_i=layer.dilation,
            group_i=layer.groups,
        )


def _trace(graph: _Graph, num_channels: int, opset: int) -> bytes:
    batch, height, width = TRACED_SIZE
    images = torch.zeros(batch, num_channels, height, width, dtype=torch.uint8)
    axes = {0: "batch", 2: "height", 3: "width"}
    coarse_axes = {0: "batch", 2: "rows", 3: "columns"}
    buffer = io.BytesIO()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # of branches that depend on sizes, and that this exporter has a successor
        try:
            torch.onnx.export(
                graph.eval(),
                (images,),
                buffer,  # type: ignore[arg-type]  # the tracing exporter takes it, which the types leave out
                dynamo=False,
                opset_version=opset,
                input_names=[INPUT],
                output_names=[graph.output],
                dynamic_axes={INPUT: axes, graph.output: coarse_axes if graph.output == SCORES else axes},
            )
        except RuntimeError as error:
            raise CannotTrace(f"torch cannot express the network in opset {opset}: {_first_line(error)}") from error
    return buffer.getvalue()


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
