"""Offer ``segtrain export`` on the command line."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from training.errors import InvalidExport
from training.exporting.choices import DEFAULT_OPSET, OPSETS, Output
from training.telling import tell

if TYPE_CHECKING:
    from training.exporting.onnx_file import Exported

PACKAGES = ("onnx", "onnxruntime")


def add_export_options(parser: argparse.ArgumentParser) -> None:
    """Say what can be exported, and how."""
    parser.add_argument("checkpoint", type=Path, help="a checkpoint file")
    parser.add_argument("--onnx", type=Path, required=True, metavar="FILE", help="ONNX file to write, .onnx")
    parser.add_argument(
        "--output", choices=get_args(Output), default="logits", help="what the graph gives (%(default)s)"
    )
    parser.add_argument(
        "--opset",
        type=int,
        default=DEFAULT_OPSET,
        metavar="N",
        help=f"version of ONNX's operations, {OPSETS[0]} to {OPSETS[-1]} (%(default)s)",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace the file that is there")


def run_export(options: argparse.Namespace) -> None:
    """Export as the options say, and tell what the graph takes and gives and how near it is to torch.

    Raises:
        InvalidOption: the file cannot or shall not be written there.
        InvalidExport: a package is missing, or the opset or the network cannot be used.
        BadCheckpoint: the source is no checkpoint, or is damaged.
        OSError: the file cannot be written.
    """
    try:  # whoever does not export needs no ONNX
        from training.exporting.onnx_file import export_onnx  # noqa: PLC0415
    except ModuleNotFoundError as error:
        if error.name not in PACKAGES:
            raise
        raise InvalidExport(f"there is no package {error.name} here: pip install 'segserve[export]'") from error
    found = export_onnx(
        options.checkpoint, options.onnx, output=options.output, opset=options.opset, overwrite=options.overwrite
    )
    tell(_lines(options.onnx, options.output, found), of=options.onnx)


def _lines(out: Path, output: str, found: Exported) -> Iterator[str]:
    spec = found.header.spec
    result = {
        "logits": f"float32 [batch, {spec.num_classes}, height, width]",
        "mask": "uint8 [batch, height, width]",
    }[output]
    channels = len(spec.input.mean)
    yield f"{out}: {found.size_bytes / 1e6:.1f} MB"
    yield f"images uint8 [batch, {channels}, height, width] ({spec.input.color_order}) -> {output} {result}"
    yield f"{'compared with torch at':<24}{'largest logit':>14}{'difference':>12}{'equal pixels':>14}"
    for one in found.parity:
        size = f"{one.batch}x{channels}x{one.height}x{one.width}"
        yield f"{size:<24}{one.largest_logit:>14.4g}{one.max_difference:>12.1e}{one.equal_pixels:>13.4%}"
