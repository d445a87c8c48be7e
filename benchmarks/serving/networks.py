"""Find, or make, the networks that are served, and the masks that they should give."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image

from benchmarks.peers import Task
from benchmarks.peers.work import load
from benchmarks.serving.images import NUM_PHOTOS, is_real, photo_paths
from benchmarks.serving.rows import ROOT
from model_zoo import checkpoint
from model_zoo.architectures import build
from model_zoo.card import Card
from model_zoo.checkpoint import Checkpoint
from model_zoo.labels import VOC_CLASSES, voc_palette
from model_zoo.predict import forward
from model_zoo.preprocess import network_input, upright_rgb
from model_zoo.spec import ModelSpec, SizeRule
from service.settings import SHIPPED_CHECKPOINTS, SHIPPED_DEFAULT

FOLDER = ROOT / "runs/benchmarks"
TRAINED = FOLDER / f"lraspp-256{checkpoint.SUFFIX}"
SHIPPED = SHIPPED_CHECKPOINTS / f"{SHIPPED_DEFAULT}{checkpoint.SUFFIX}"
RECIPE = Path(__file__).with_name("lraspp.toml")
NULL = "null"
FOREGROUND = 0.27
"""The share of pixels in VOC's masks, void ones aside, that are not background."""


def find_network(name: str) -> Path | None:
    """Give the checkpoint of a network by its name, as ``benchmarks.serve`` lists them, or its file; None for ``null``.

    ``default-256`` is the shipped one, whose spec shrinks images to 256 pixels; it is written when it is asked for.

    ``lraspp`` is trained when it is asked for the first time, for some minutes, and then made to see as much foreground
    as there is; where the data are missing, its weights stay as they were drawn.
    """
    if name == NULL:
        return None
    if name == "default":
        return SHIPPED
    if name == "default-256":
        return _shrink(SHIPPED, side=256)
    if name != "lraspp":
        return Path(name).resolve()
    if not TRAINED.is_file():
        FOLDER.mkdir(parents=True, exist_ok=True)
        _train(TRAINED) if is_real() else _draw(TRAINED)
    return TRAINED


def write_masks(network: Path, images: Path, folder: Path) -> None:
    """Write the mask of every JPEG of a folder, found in the plainest way: decoded in full, float32, no shortcuts.

    It is what the peers run, and it is done here without any server.
    """
    work = load(Task(network, threads=torch.get_num_threads()))
    for jpeg in sorted(images.glob("*.jpg")):
        (folder / jpeg.with_suffix(".png").name).write_bytes(work([jpeg.read_bytes()])[0])


def _shrink(path: Path, *, side: int) -> Path:
    """Write a checkpoint anew whose longest side is another one."""
    loaded = checkpoint.load(path)
    spec, name = loaded.header.spec, f"{loaded.header.name}-{side}"
    spec = spec.model_copy(update={"size": spec.size.model_copy(update={"side": side})})
    out = FOLDER / f"{name}{checkpoint.SUFFIX}"
    out.parent.mkdir(parents=True, exist_ok=True)
    checkpoint.save(out, loaded.network, Card(name=name, spec=spec), dtype="float16")
    return out


def _train(path: Path) -> None:
    run = FOLDER / "lraspp"
    command: Sequence[str] = [sys.executable, "-m", "training", "fit", "--recipe", str(RECIPE), "--out", str(run)]
    print(f"training {path.name}, once: {' '.join(command)}", flush=True)
    subprocess.run(command, cwd=ROOT, check=True)  # noqa: S603  # our own command
    loaded = checkpoint.load(run / f"checkpoint-last{checkpoint.SUFFIX}")
    _find_foreground(loaded)
    checkpoint.save(path, loaded.network, Card(name="lraspp-256", spec=loaded.header.spec))


@torch.inference_mode()
def _find_foreground(loaded: Checkpoint) -> None:
    """Lower the bias of the background until as many pixels are foreground as in VOC.

    After so few steps most masks would have one class alone, and their borders are what argmax and PNG have to do with.
    """
    network = loaded.network
    margins = []
    for path in photo_paths(NUM_PHOTOS):
        with Image.open(path) as photo:
            item = network_input(upright_rgb(photo), loaded.header.spec)
        scores = forward(network, [item], loaded.header.spec)[0]  # [C, h, w]
        margins.append((scores[1:].amax(0) - scores[0]).flatten())
    network.get_parameter("head.low_classifier.bias")[0] += torch.cat(margins).quantile(1 - FOREGROUND)


def _draw(path: Path) -> None:
    torch.manual_seed(0)
    spec = ModelSpec(
        architecture="lraspp",
        classes=tuple(VOC_CLASSES),
        palette=tuple(voc_palette()[: len(VOC_CLASSES)]),
        size=SizeRule(policy="longest", side=256),
    )
    network = build(spec.architecture, spec.num_classes, spec.arguments).eval()
    checkpoint.save(path, network, Card(name="lraspp-256", spec=spec))
