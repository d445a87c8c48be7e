"""Keep the folder of a run: whose it is, which files are in it, and the lines of ``metrics.csv``."""

from __future__ import annotations

import csv
import fcntl
import io
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from model_zoo import checkpoint
from model_zoo.atomic import write_atomically
from training import state
from training.errors import FolderInUse, FolderNotEmpty, InvalidOption
from training.recipe import HOW_NOT_WHAT, Recipe, read_recipe

LAST = f"checkpoint-last{checkpoint.SUFFIX}"
BEST = f"checkpoint-best{checkpoint.SUFFIX}"
METRICS = "metrics.csv"
RECIPE = "recipe.toml"
REPORT = "report.html"
CARD = "card.md"
EVENTS = "events"
LOCK = "lock"


@dataclass(frozen=True, slots=True)
class EpochRow:
    """Hold one line of ``metrics.csv``: means over an epoch; scores are absent where it was not validated.

    ``gradient`` is the length of the gradient before it was clipped, ``waited`` the share of the time in which the
    network waited for images, ``seconds`` the time since the run began, interruptions left out.
    """

    epoch: int
    step: int
    lr: float
    loss: float
    gradient: float
    images_per_second: float
    waited: float
    seconds: float
    val_miou: float | None
    val_pixel_accuracy: float | None

    def summary(self, epochs: int) -> str:
        """Say it in a line for people, with the time that is left."""
        left = self.seconds / self.epoch * (epochs - self.epoch)
        line = (
            f"epoch {self.epoch}/{epochs}  loss {self.loss:.4f}  {self.images_per_second:.1f} images/s  "
            f"{_clock(self.seconds)} gone, {_clock(left)} left"
        )
        return line if self.val_miou is None else f"{line}  mIoU {self.val_miou:.4f}"


@contextmanager
def opened(out: Path, recipe: Recipe, *, overwrite: bool) -> Iterator[None]:
    """Make the folder ready for a run, and keep others from training in it until the run is over.

    Raises:
        FolderNotEmpty: it holds something else, or a run of another recipe; the message names what differs.
        FolderInUse: another process is training in it.
        OSError: it cannot be written.
    """
    is_known = not overwrite and (out / RECIPE).is_file()
    if is_known:
        _check_same(out, recipe)
    elif not overwrite and out.is_dir() and any(not _is_left_over(path) for path in out.iterdir()):
        raise FolderNotEmpty(f"{out} is not empty; choose another folder, or say --overwrite")
    out.mkdir(parents=True, exist_ok=True)
    (out / state.FOLDER).mkdir(exist_ok=True)
    with (out / state.FOLDER / LOCK).open("a") as lock:
        try:
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # unlike flock, not handed on to loader processes
        except BlockingIOError as error:
            raise FolderInUse(f"{out}: another process is training in this folder") from error
        for path in (*out.glob(".*.part"), *(out / state.FOLDER).glob(".*.part")):
            path.unlink()  # half a file, of a run that was killed
        if not is_known:
            _clear(out)
            write_atomically(out / RECIPE, [recipe.to_toml().encode()])
        yield


def check_space(out: Path, num_bytes: int) -> None:
    """Refuse a run whose files will not fit on the disk; those of an earlier start are replaced one by one.

    Raises:
        InvalidOption: less is free than ``num_bytes``.
    """
    existing = next(folder for folder in (out.absolute(), *out.absolute().parents) if folder.exists())
    own = [path for pattern in (f"*{checkpoint.SUFFIX}", f"{state.FOLDER}/*") for path in out.glob(pattern)]
    free = shutil.disk_usage(existing).free + sum(path.stat().st_size for path in own)
    if free < num_bytes:
        raise InvalidOption(f"{out}: {free / 2**20:.0f} MiB are free, the run needs {num_bytes / 2**20:.0f} MiB")


def append_row(path: Path, row: EpochRow) -> None:
    """Add a line to ``metrics.csv`` in one write, below the names of the columns."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    if not path.exists():
        writer.writerow(field.name for field in fields(row))
    writer.writerow(astuple(row))
    with path.open("a", encoding="utf-8") as file:
        file.write(text.getvalue())


def cut_rows(path: Path, num_rows: int) -> None:
    """Take the lines away that were written after the state from which the run goes on."""
    if not path.exists():
        return
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    if not num_rows:
        path.unlink()
    elif len(lines) > 1 + num_rows:
        write_atomically(path, ["".join(lines[: 1 + num_rows]).encode()])


def _is_left_over(path: Path) -> bool:
    """Say whether this is what a run leaves that is killed before its recipe is written."""
    return path.name == state.FOLDER or (path.name.startswith(f".{RECIPE}.") and path.suffix == ".part")


def _clear(out: Path) -> None:
    """Remove what a run has left, and nothing else."""
    for name in (LAST, BEST, METRICS, RECIPE, REPORT, CARD):
        (out / name).unlink(missing_ok=True)
    for pattern in (f"{state.FOLDER}/{state.PATTERN}", f"{EVENTS}/events.out.tfevents*"):
        for path in out.glob(pattern):
            path.unlink()
    with suppress(OSError):
        (out / EVENTS).rmdir()


def _check_same(out: Path, recipe: Recipe) -> None:
    before = read_recipe(str(out / RECIPE), {})
    for name in Recipe.model_fields:
        old, new = getattr(before, name), getattr(recipe, name)
        if name not in HOW_NOT_WHAT and old != new:
            raise FolderNotEmpty(
                f"{out} holds a run with {name} = {_shown(old)}, this one has {_shown(new)}; "
                "choose another folder, or say --overwrite"
            )


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _clock(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{minutes // 60}h{minutes % 60:02}m" if minutes else f"{seconds:.0f}s"
