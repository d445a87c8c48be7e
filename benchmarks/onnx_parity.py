"""Compare the ONNX graph of every architecture with torch, and print the table of docs/exporting.md.

Run: ``python -m benchmarks.onnx_parity [CHECKPOINT ...]``. Networks are built with the arguments that they have unless
said otherwise, of 21 classes with random weights; checkpoints come with their own. Needs 6 GB of memory, for the FCNs.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import nn

from model_zoo import checkpoint
from model_zoo.architectures import ARCHITECTURES, allowed_arguments, build
from model_zoo.labels import VOC_CLASSES, voc_palette
from model_zoo.preprocess import normalise
from model_zoo.spec import ModelSpec
from training.exporting.choices import DEFAULT_OPSET
from training.exporting.graph import make_graph
from training.exporting.parity import SIZES, compare, made_images


def main(paths: Sequence[str]) -> None:
    """Print one line a network."""
    heads = [f"{batch}x3x{height}x{width}" for batch, height, width in SIZES]
    print(f"| network | {' | '.join(heads)} | equal pixels |")
    print(f"|---|{'---|' * len(heads)}---|")
    for name, network, spec in networks(paths):
        model = make_graph(network, spec, opset=DEFAULT_OPSET).SerializeToString()
        found = compare(model, network, spec)
        shares = " | ".join(f"{one.max_difference / one.largest_logit:.1e}" for one in found)
        print(f"| {name} | {shares} | {min(one.equal_pixels for one in found):.3%} |", flush=True)


def networks(paths: Sequence[str]) -> Iterator[tuple[str, nn.Module, ModelSpec]]:
    """Give each network to compare, with its name."""
    for path in paths:
        loaded = checkpoint.load(Path(path))
        yield f"{loaded.header.name}, as shipped", loaded.network, loaded.header.spec
    for name in ARCHITECTURES:
        arguments = {"score_init": "he"} if "score_init" in allowed_arguments(name) else {}
        spec = ModelSpec(
            architecture=name, arguments=arguments, classes=VOC_CLASSES, palette=voc_palette()[: len(VOC_CLASSES)]
        )
        yield f"`{name}`", random_network(spec), spec


def random_network(spec: ModelSpec) -> nn.Module:
    """Build a network with random weights, and biases with which no class is everywhere: else all masks were equal."""
    torch.manual_seed(0)
    network = build(spec.architecture, spec.num_classes, spec.arguments).eval()
    scores = [
        layer
        for layer in network.modules()
        if isinstance(layer, nn.Conv2d) and layer.bias is not None and layer.out_channels == spec.num_classes
    ]
    with torch.no_grad():
        logits = network(normalise(made_images(SIZES[1], spec), spec.input)).logits  # [B, C, H, W]
        for layer in scores[:1]:
            assert layer.bias is not None  # chosen so
            layer.bias -= logits.mean(dim=(0, 2, 3))
    return network


if __name__ == "__main__":
    main(sys.argv[1:])
