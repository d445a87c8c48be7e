"""Make the ONNX graph that is exported: its images of any size, its logits, and their mask.

What a trace gets wrong without a word is found by ``parity.py``.

Letters: B batch, K channels of the image, C classes, H and W height and width.
"""

from __future__ import annotations

import onnx
from onnx import TensorProto, helper
from torch import nn

from model_zoo.onnx_graph import LOGITS, CannotTrace, trace_graph
from model_zoo.spec import ModelSpec
from training.errors import InvalidExport
from training.exporting.choices import Output
from training.exporting.quiet import quiet


def make_graph(network: nn.Module, spec: ModelSpec, *, opset: int) -> onnx.ModelProto:
    """Give a graph that maps images, uint8 ``[B, K, H, W]``, to logits ``[B, C, H, W]`` and their mask ``[B, H, W]``.

    Args:
        network: in eval mode, in float32 on the CPU; it is left as it is.
        spec: the spec that the network was built from.
        opset: version of ONNX's operations, one of ``OPSETS``.

    Raises:
        InvalidExport: torch cannot express the network so, or it is too large for one file.
    """
    try:
        with quiet():
            traced = trace_graph(network, spec, opset=opset)
    except CannotTrace as error:
        raise InvalidExport(str(error)) from error
    model = onnx.load_from_string(traced)
    _add_mask(model.graph)
    return model


def keep_output(model: onnx.ModelProto, output: Output) -> None:
    """Take the other one of the two outputs away."""
    if output == "mask":
        del model.graph.output[0]
    else:
        del model.graph.output[1]
        del model.graph.node[-2:]


def _add_mask(graph: onnx.GraphProto) -> None:
    graph.node.append(helper.make_node("ArgMax", [LOGITS], ["labels"], axis=1, keepdims=0))
    graph.node.append(helper.make_node("Cast", ["labels"], ["mask"], to=TensorProto.UINT8))
    graph.output.append(helper.make_tensor_value_info("mask", TensorProto.UINT8, ["batch", "height", "width"]))
