"""Find, or make, the networks that are served, and the masks that they should give."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmarks.peers import Task
from benchmarks.peers.work import load
from benchmarks.serving.images import is_real
from benchmarks.serving.rows import ROOT
from model_zoo import checkpoint
from model_zoo.architectures import build
from model_zoo.card import Card
from model_zoo.labels import VOC_CLASSES, voc_palette
from model_zoo.spec import ModelSpec, SizeRule
from service.settings import SHIPPED_CHECKPOINTS, SHIPPED_DEFAULT

FOLDER = ROOT / "runs/benchmarks"
LRASPP = FOLDER / f"lraspp-256{checkpoint.SUFFIX}"
RECIPE = Path(__file__).with_name("lraspp.toml")
NULL = "null"


def find_network(name: str) -> Path | None:
    """Give the checkpoint of a network by its name (default, lraspp, null) or its file; None for the empty one.

    ``lraspp`` is trained when it is asked for the first time, for some minutes; where the data are missing, its weights
    stay as they were drawn.
    """
    if name == NULL:
        return None
    if name == "default":
        return SHIPPED_CHECKPOINTS / f"{SHIPPED_DEFAULT}{checkpoint.SUFFIX}"
    if name != "lraspp":
        return Path(name).resolve()
    if not LRASPP.is_file():
        FOLDER.mkdir(parents=True, exist_ok=True)
        _train(LRASPP) if is_real() else _draw(LRASPP)
    return LRASPP


def write_masks(network: Path, images: Path, folder: Path) -> None:
    """Write the mask of every JPEG of a folder, found in the plainest way: decoded in full, float32, no shortcuts.

    It is what the peers run, and it is done here without any server.
    """
    work = load(Task(network, threads=torch.get_num_threads()))
    for jpeg in sorted(images.glob("*.jpg")):
        (folder / jpeg.with_suffix(".png").name).write_bytes(work([jpeg.read_bytes()])[0])


def _train(path: Path) -> None:
    run = FOLDER / "lraspp"
    command: Sequence[str] = [sys.executable, "-m", "training", "fit", "--recipe", str(RECIPE), "--out", str(run)]
    print(f"training {path.name}, once: {' '.join(command)}", flush=True)
    subprocess.run(command, cwd=ROOT, check=True)  # noqa: S603  # our own command
    shutil.copyfile(run / f"checkpoint-last{checkpoint.SUFFIX}", path)


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
