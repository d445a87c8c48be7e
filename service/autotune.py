"""Measure how a checkpoint runs the quickest on this machine: every runtime that is installed, at several batch sizes.

What computes in other ways than torch in float32 is taken only where its masks are the same.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from statistics import median

import torch
from PIL import Image

from model_zoo.card import CheckpointHeader, SelfTest
from model_zoo.checkpoint import load, verify
from model_zoo.preprocess import NetworkInput, network_input
from model_zoo.segmentation import PLAIN
from model_zoo.selftest import generated_image
from model_zoo.spec import ModelSpec
from service.devices import pick_devices, threads_for
from service.runtimes import RUNTIMES, is_installed
from service.runtimes.lowering import LEAST_AGREEMENT
from service.runtimes.runtime import Runtime
from service.settings import PrecisionName, Settings
from service.tuning import PLAIN_RUNTIME, Trial, TunedRuntime, Tuning, this_machine
from service.warmup import usual_shapes

_WAYS: Sequence[tuple[TunedRuntime, PrecisionName]] = (
    (PLAIN_RUNTIME, "float32"),
    (PLAIN_RUNTIME, "bfloat16"),
    (PLAIN_RUNTIME, "float16"),
    ("openvino", "float32"),
    ("openvino", "bfloat16"),
    ("onnxruntime", "float32"),
)
_NUM_IMAGES = 4
_LEAST_ROUNDS = 3
_NEAR = 0.95
"""What reaches this share of the most images a second is as good: the smallest such batch is taken, then float32."""


@dataclass(frozen=True, slots=True)
class Way:
    """Hold a runtime that is tried, and the share of pixels on which its masks agree with those of the plain one."""

    name: TunedRuntime
    precision: PrecisionName
    runtime: Runtime
    agreement: float
    seconds: dict[int, list[float]] = field(default_factory=dict)


class Autotuner:
    """Try one checkpoint on one device; ``remarks`` says of what was not tried why."""

    def __init__(self, checkpoint: Path, *, device: str = "auto", max_batch_size: int = 8) -> None:
        """Load the checkpoint in every way that there is.

        Raises:
            BadCheckpoint: It cannot be used.
            BadSetting: There is no such device.
        """
        self.remarks: list[str] = []
        self._path = checkpoint
        self._device = pick_devices(device)[0]
        self._settings = Settings(device=str(self._device), checkpoints=checkpoint)
        self._max_batch_size = max_batch_size
        self._header: CheckpointHeader = verify(checkpoint).header
        self._images = _pictures(self._header.spec)
        torch.set_num_threads(threads_for([self._device], wanted=None))
        self._ways = list(self._build_ways())

    def measure(self, *, seconds: float) -> Tuning:
        """Time all ways in rounds for about so many seconds, and give what was found.

        In rounds, for what else the machine does changes from one minute to the next.
        """
        sizes = [size for size in (1, 2, 4, 8, 16, 32) if size < self._max_batch_size] + [self._max_batch_size]
        pairs = [(way, size) for way in self._ways for size in sizes]
        for way, size in pairs:
            self._run(way, size)  # caches and kernels are made now
        until = time.monotonic() + seconds
        num_rounds = 0
        while num_rounds < _LEAST_ROUNDS or time.monotonic() < until:
            for way, size in pairs:
                started = time.perf_counter()
                self._run(way, size)
                way.seconds.setdefault(size, []).append(time.perf_counter() - started)
            num_rounds += 1
        trials = [_trial(way, size) for way, size in pairs]
        best = _best(trials)
        plain = max(one.images_per_second for one in trials if _is_plain(one))
        return Tuning(
            sha256=self._header.sha256,
            machine=this_machine(self._device),
            day=date.today().isoformat(),  # the day that people here have
            shape=_shape(self._images[0]),
            best=best,
            times_plain=best.images_per_second / plain,
            trials=tuple(trials),
        )

    def _build_ways(self) -> Iterator[Way]:
        expected: list[torch.Tensor] = []
        for name, precision in _WAYS:
            runtime = self._build(name, precision)
            if runtime is None:
                continue
            masks = [runtime([image], [PLAIN])[0].mask for image in self._images]
            expected = expected or masks
            agreement = _agreement(expected, masks)
            if agreement < LEAST_AGREEMENT:
                self.remarks.append(f"{name} in {precision}: masks agree on {agreement:.2%} of the pixels only")
                continue
            yield Way(name, precision, runtime, agreement)

    def _build(self, name: str, precision: PrecisionName) -> Runtime | None:
        """Give a runtime, or nothing, having said why."""
        told = f"{name} in {precision}"
        if not is_installed(name):
            self.remarks.append(f"{told}: not installed, pip install 'segserve[{name}]'")
            return None
        if (self._device.type == "cpu" and precision == "float16") or (
            self._device.type != "cpu" and name != PLAIN_RUNTIME
        ):
            return None
        settings = self._settings.model_copy(update={"runtime": name, "precision": precision})
        try:
            runtime = RUNTIMES[name](load(self._path), self._device, settings)
            runtime(self._images[:1], [PLAIN])
        except (RuntimeError, ValueError) as error:  # a network that a library cannot run; the others can
            self.remarks.append(f"{told}: {next(iter(str(error).splitlines()), type(error).__name__)}")
            return None
        if runtime.precision != precision:
            self.remarks.append(f"{told}: {runtime.precision_note}")
            return None
        return runtime

    def _run(self, way: Way, size: int) -> None:
        way.runtime([self._images[index % len(self._images)] for index in range(size)], [PLAIN] * size)


def table(tuning: Tuning) -> Iterator[str]:
    """Say line by line what was measured and what was chosen."""
    channels, height, width = tuning.shape
    yield f"images of {channels}x{height}x{width}, on {tuning.machine['device']}, {tuning.machine['CPUs']} CPUs"
    yield f"{'runtime':<12} {'precision':<9} {'batch':>5} {'images/s':>9} {'same pixels':>12}"
    for one in tuning.trials:
        mark = "  <- chosen" if one == tuning.best else ""
        yield (
            f"{one.runtime:<12} {one.precision:<9} {one.batch_size:>5} {one.images_per_second:>9.2f} "
            f"{one.agreement:>12.2%}{mark}"
        )
    yield f"{tuning.times_plain:.2f} times the images a second of torch in float32 at its best"


def _pictures(spec: ModelSpec) -> list[NetworkInput]:
    _, height, width = usual_shapes(spec)[0]
    tests = [SelfTest(seed=seed, height=height, width=width, histogram=()) for seed in range(_NUM_IMAGES)]
    return [network_input(Image.fromarray(generated_image(test)), spec) for test in tests]


def _shape(item: NetworkInput) -> tuple[int, int, int]:
    channels, height, width = item.pixels.shape
    return channels, height, width


def _agreement(expected: Sequence[torch.Tensor], found: Sequence[torch.Tensor]) -> float:
    same = [(one == other).double().mean() for one, other in zip(expected, found, strict=True)]
    return float(torch.stack(same).mean())


def _trial(way: Way, size: int) -> Trial:
    return Trial(
        runtime=way.name,
        precision=way.precision,
        batch_size=size,
        images_per_second=size / median(way.seconds[size]),
        agreement=way.agreement,
    )


def _best(trials: Sequence[Trial]) -> Trial:
    most = max(trial.images_per_second for trial in trials)
    near = [trial for trial in trials if trial.images_per_second >= _NEAR * most]
    return min(near, key=lambda trial: (trial.batch_size, trial.precision != "float32", -trial.images_per_second))


def _is_plain(trial: Trial) -> bool:
    return trial.runtime == PLAIN_RUNTIME and trial.precision == "float32"
