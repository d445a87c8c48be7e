"""Remember beside a checkpoint how it runs the quickest on this machine, and use that where nothing else is asked for.

``segserve tune`` writes ``NAME.tuned.json`` beside ``NAME.safetensors``. It is a measurement, so it counts only for the
weights, the device and the libraries that it was made with.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from model_zoo.atomic import write_atomically
from model_zoo.checkpoint import SUFFIX
from model_zoo.machine import cpu_name
from service.devices import available_cpus
from service.settings import AUTO, PrecisionName, Settings

TUNED_SUFFIX = ".tuned.json"
PLAIN_RUNTIME: Literal["torch"] = "torch"
"""What ``auto`` is where nothing was measured."""

TunedRuntime = Literal["torch", "openvino", "onnxruntime"]
"""Those that give the network's own masks: whoever can write beside a checkpoint can choose no other."""

_MOST_BYTES = 1 << 20
_LIBRARIES = ("torch", "openvino", "onnxruntime")


class Trial(BaseModel):
    """Hold one way that was tried: its images a second, and the share of the mask's pixels as in float32 with torch."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    runtime: TunedRuntime
    precision: PrecisionName
    batch_size: int = Field(ge=1)
    images_per_second: float = Field(gt=0)
    agreement: float = Field(ge=0, le=1)


class Tuning(BaseModel):
    """Hold what was found for the weights of hash ``sha256`` on a ``machine``; ``best`` is one of the ``trials``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    sha256: str
    machine: Mapping[str, str]
    day: str = Field(description="when it was measured, as 2026-11-29")
    shape: tuple[int, int, int] = Field(description="channels, height and width of the network input")
    best: Trial
    times_plain: float = Field(gt=0, description="images a second, divided by those of torch in float32")
    trials: tuple[Trial, ...]


@dataclass(frozen=True, slots=True)
class Choice:
    """Hold the settings of one model on one device, its runtime named, and why it is this one, in public words."""

    settings: Settings
    note: str | None = None


def choose(settings: Settings, checkpoint: Path, sha256: str, device: torch.device) -> Choice:
    """Give the settings with a runtime in place of ``auto``: the tuned one, if it was measured for just this."""
    if settings.runtime != AUTO:
        return Choice(settings)
    plain = settings.model_copy(update={"runtime": PLAIN_RUNTIME})
    path = tuned_path(checkpoint)
    if not path.is_file():
        return Choice(plain)
    try:
        tuning = read_tuning(path)
    except ValueError:
        return Choice(plain, f"{path.name} is not used, for it cannot be read")
    if tuning.sha256 != sha256:
        return Choice(plain, f"{path.name} is not used, for it was measured with other weights")
    differing = _difference(tuning.machine, this_machine(device))
    if differing:
        return Choice(plain, f"{path.name} is not used, for it was measured with another {differing}")
    best = tuning.best
    tuned = settings.model_copy(
        update={
            "runtime": best.runtime,
            "precision": best.precision,
            "max_batch_size": min(settings.max_batch_size, best.batch_size),
        }
    )
    told = f"tuned on {tuning.day}: {best.images_per_second:.1f} images/s, {tuning.times_plain:.2f} times as many"
    return Choice(tuned, f"{told} as by torch in float32")


def tuned_path(checkpoint: Path) -> Path:
    """Say where the tuning of a checkpoint's file is."""
    return checkpoint.with_name(checkpoint.name.removesuffix(SUFFIX) + TUNED_SUFFIX)


def read_tuning(path: Path) -> Tuning:
    """Read a tuning.

    Raises:
        ValueError: The file cannot be read, or is none.
    """
    try:
        with path.open("rb") as file:
            return Tuning.model_validate_json(file.read(_MOST_BYTES))
    except (OSError, ValidationError) as error:
        raise ValueError(f"{path} is no tuning") from error


def write_tuning(path: Path, tuning: Tuning) -> None:
    """Write a tuning, whole or not at all.

    Raises:
        OSError: The file cannot be written.
    """
    write_atomically(path, [tuning.model_dump_json(indent=1).encode() + b"\n"])


def this_machine(device: torch.device) -> dict[str, str]:
    """Say on what a measurement depends: the device, the number of CPUs, and the versions of the libraries."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else cpu_name()
    versions = {library: found for library in _LIBRARIES if (found := _version(library)) is not None}
    return {"device": name, "CPUs": str(available_cpus()), **versions}


def _difference(then: Mapping[str, str], now: Mapping[str, str]) -> str | None:
    return next((name for name in {**now, **then} if then.get(name) != now.get(name)), None)


def _version(library: str) -> str | None:
    try:
        return version(library)
    except PackageNotFoundError:
        return None
