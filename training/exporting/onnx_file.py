"""Write a checkpoint as one ONNX file, after it was run beside its network; or leave nothing behind."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import onnx
import onnxruntime  # type: ignore[import-untyped]  # it has no stubs
import torch

from model_zoo import checkpoint
from model_zoo.atomic import write_atomically
from model_zoo.card import CheckpointHeader
from training.errors import InvalidExport
from training.exporting.choices import DEFAULT_OPSET, OPSETS, Output
from training.exporting.graph import keep_output, make_graph
from training.exporting.parity import TOLERANCE, Parity, compare
from training.targets import check_target

SUFFIX = ".onnx"
HEADER_KEY = "segserve"
PARITY_KEY = "segserve_parity"


@dataclass(frozen=True, slots=True)
class Exported:
    """Say what was written, and how near it is to torch."""

    header: CheckpointHeader
    parity: Sequence[Parity]
    size_bytes: int


def export_onnx(
    source: Path, out: Path, *, output: Output = "logits", opset: int = DEFAULT_OPSET, overwrite: bool = False
) -> Exported:
    """Read a checkpoint, make a graph of it, compare the two, and write ``out``.

    Raises:
        InvalidOption: ``out`` cannot or shall not be written.
        InvalidExport: the opset cannot be used, or the graph is not what the network is.
        BadCheckpoint: the source is no checkpoint, or is damaged.
        OSError: the file cannot be written.
    """
    check_target(out, option="--onnx", suffix=SUFFIX, sources=[source], overwrite=overwrite)
    if opset not in OPSETS:
        raise InvalidExport(f"--opset {opset}: {OPSETS[0]} to {OPSETS[-1]} would do")
    loaded = checkpoint.load(source)
    spec = loaded.header.spec
    model = make_graph(loaded.network, spec, opset=opset)
    parity = compare(model.SerializeToString(), loaded.network, spec)
    keep_output(model, output)
    _describe(model, loaded.header, parity)
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise InvalidExport(f"the graph is no valid ONNX: {str(error).splitlines()[0]}") from error
    blob = model.SerializeToString()
    write_atomically(out, [blob])
    return Exported(loaded.header, parity, len(blob))


def _describe(model: onnx.ModelProto, header: CheckpointHeader, parity: Sequence[Parity]) -> None:
    """Put into the file what it is, who made it, and how near it is to torch."""
    model.producer_name, model.producer_version = "segserve", _version()
    model.graph.name = header.name
    model.doc_string = header.description
    record = {
        "torch": torch.__version__,
        "onnxruntime": onnxruntime.__version__,
        "tolerance": TOLERANCE,
        "sizes": [asdict(one) for one in parity],
    }
    words = {HEADER_KEY: checkpoint.canonical_json(header), PARITY_KEY: json.dumps(record)}
    onnx.helper.set_model_props(model, words)


def _version() -> str:
    try:
        return version("segserve")
    except PackageNotFoundError:  # run from a checkout that is not installed
        return "0"
