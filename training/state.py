"""Save all that it takes to go on with a run, and find it again after any end, so that nothing shows that it stopped.

Random numbers are no part of it: those of a sample depend on seed, visit and id, those of a step on seed and step.
"""

from __future__ import annotations

import hashlib
import io
import pickle
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from model_zoo.atomic import write_atomically
from training.errors import DamagedState
from training.evaluation.metrics import ConfusionMatrix

FOLDER = "state"
PATTERN = "step-*.pt"
DIGEST_SIZE = hashlib.sha256().digest_size
KEPT = 2
"""How many states are kept: the newest, and the one before for the case that the disk loses the newest."""
DAMAGE = (RuntimeError, EOFError, LookupError, TypeError, ValueError, OSError, pickle.UnpicklingError)
"""What torch raises for a file that is not what it wrote."""


@dataclass(slots=True)
class Progress:
    """Say how far a run has come. It is all that changes, but for weights and optimizer.

    ``step`` counts the steps done, ``num_rows`` the lines of ``metrics.csv`` below its head. The sums are over the
    steps of the epoch so far; ``waited`` and ``seconds`` are times. ``counts`` and ``unlabelled`` are those of the last
    validation's confusion matrix.
    """

    step: int = 0
    num_rows: int = 0
    best_iou: float = -float("inf")
    seconds: float = 0.0
    loss_sum: float = 0.0
    gradient_sum: float = 0.0
    waited: float = 0.0
    epoch_seconds: float = 0.0
    num_steps: int = 0
    num_images: int = 0
    counts: Tensor | None = None
    unlabelled: Tensor | None = None

    def note(self, scores: ConfusionMatrix) -> None:
        """Keep what a validation has counted, and its mIoU if it is the best so far."""
        self.best_iou = max(self.best_iou, scores.mean_iou)
        self.counts, self.unlabelled = scores.counts, scores.unlabelled

    @property
    def scores(self) -> ConfusionMatrix:
        """Give what the last validation has counted; there must have been one."""
        assert self.counts is not None  # a run ends with a validation
        assert self.unlabelled is not None
        scores = ConfusionMatrix(len(self.counts))
        scores.counts, scores.unlabelled = self.counts, self.unlabelled
        return scores


@dataclass(frozen=True, slots=True)
class Learner:
    """Hold what learns: the network, its optimizer, and the network's average over steps, if there is one."""

    network: nn.Module
    optimizer: torch.optim.Optimizer
    average: nn.Module | None = None


def save_state(folder: Path, learner: Learner, progress: Progress, *, data: str) -> None:
    """Write the state of a run into a file named by its step, whole or not at all, and drop the oldest.

    ``data`` says which images and classes are learnt.

    Raises:
        OSError: the folder cannot be written, or the disk is full; older states are as they were.
    """
    content = {
        "network": learner.network.state_dict(),
        "average": learner.average.state_dict() if learner.average is not None else None,
        "optimizer": learner.optimizer.state_dict(),
        "progress": asdict(progress),
        "data": data,
    }
    buffer = io.BytesIO()
    torch.save(content, buffer)
    folder.mkdir(exist_ok=True)
    body = buffer.getbuffer()
    write_atomically(folder / f"step-{progress.step:09d}.pt", [body, hashlib.sha256(body).digest()])
    for path in _states(folder)[:-KEPT]:
        path.unlink()


def bytes_needed(learner: Learner) -> int:
    """Estimate what the files of a run take on the disk, one more state while it is written included."""
    weights: int = sum(value.nbytes for value in learner.network.state_dict().values())
    slots = 1 if isinstance(learner.optimizer, torch.optim.SGD) else 2
    copies = 1 + slots + (learner.average is not None)
    return weights * (copies * (KEPT + 1) + 3)


def has_state(folder: Path) -> bool:
    """Say whether a run has left a state here."""
    return bool(_states(folder))


def load_state(folder: Path, learner: Learner, *, data: str) -> Progress:
    """Put the newest state that can be read into the learner, and say how far it had come.

    Raises:
        DamagedState: there are states, but none can be read, or it is of other images, classes or of another network.
    """
    paths = _states(folder)
    for path in reversed(paths):
        try:
            content = _read(path)
            progress = Progress(**content["progress"])
        except DAMAGE:
            continue
        if content.get("data") != data:
            raise DamagedState(f"{path} has learnt other images or classes than the datasets have now; say --overwrite")
        try:
            learner.network.load_state_dict(content["network"])
            learner.optimizer.load_state_dict(content["optimizer"])
            if learner.average is not None:
                learner.average.load_state_dict(content["average"])
        except DAMAGE as error:
            raise DamagedState(f"{path} is not of this network: {str(error).splitlines()[0]}") from error
        return progress
    raise DamagedState(f"{paths[-1]} cannot be read, nor any older state; say --overwrite to begin anew")


def _read(path: Path) -> dict[str, Any]:
    """Read a state whose last bytes are the sha256 of the others: torch itself does not notice a flipped bit."""
    blob = memoryview(path.read_bytes())
    body, digest = blob[:-DIGEST_SIZE], blob[-DIGEST_SIZE:]
    if hashlib.sha256(body).digest() != digest:
        raise ValueError("the content does not match its sha256")
    content: dict[str, Any] = torch.load(io.BytesIO(body), map_location="cpu", weights_only=True)
    return content


def _states(folder: Path) -> list[Path]:
    return sorted(folder.glob(PATTERN))
