"""Offer ``segtrain import`` on the command line."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from model_zoo.card import Dtype
from training.importing.convert import Wishes, import_checkpoint
from training.telling import tell


def add_import_options(parser: argparse.ArgumentParser) -> None:
    """Say what can be imported, and what may be said of it."""
    parser.add_argument("source", type=Path, help="file of weights, .pth, .pt or .safetensors, or smp folder")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="checkpoint to write, .safetensors")
    parser.add_argument("--spec", type=Path, metavar="FILE", help=".toml file that says what the weights do not")
    parser.add_argument("--classes", metavar="NAMES", help="voc, names with commas, or a file of one name a line")
    parser.add_argument("--name", help="of the model, if not that of the file")
    parser.add_argument("--description", default="", help="one sentence for the model's card")
    parser.add_argument("--licence", default="unknown", help="of the weights (%(default)s)")
    parser.add_argument("--dtype", choices=get_args(Dtype), default="float32", help="of what is stored (%(default)s)")
    parser.add_argument("--overwrite", action="store_true", help="replace the checkpoint that is there")


def run_import(options: argparse.Namespace, words: Sequence[str]) -> None:
    """Import as the options say, and tell what it was and how to serve it.

    Raises:
        InvalidOption: the checkpoint cannot or shall not be written there.
        InvalidImport: the source fits no network of the zoo.
        BadCheckpoint: the weights cannot be stored so.
        OSError: a file is missing, or cannot be written.
    """
    wishes = Wishes(
        spec=options.spec,
        classes=options.classes,
        name=options.name,
        description=options.description,
        licence=options.licence,
        dtype=options.dtype,
        overwrite=options.overwrite,
        command=shlex.join(["segtrain", *words]),
    )
    found = import_checkpoint(options.source, options.out, wishes)
    spec = found.header.spec
    named = "VOC's names, since none were given" if found.is_voc_assumed else ", ".join(spec.classes[:5])
    more = ", ..." * (spec.num_classes > 5 and not found.is_voc_assumed)
    size = f"{found.num_parameters / 1e6:.2f} M parameters"
    serving = shlex.join(["segserve", "serve", "--checkpoints", str(options.out)])
    lines = [f"{found.origin}: {size}, {spec.num_classes} classes ({named}{more})", f"serve it with: {serving}"]
    tell(lines, of=options.out)
