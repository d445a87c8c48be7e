"""Keep the served models: find their checkpoints, load, verify and warm them up, and close them again."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from difflib import get_close_matches
from enum import StrEnum
from pathlib import Path

from PIL import Image

from model_zoo.checkpoint import SUFFIX, BadCheckpoint, Checkpoint, Inspection, inspect, verify
from model_zoo.preprocess import NetworkInput, network_input
from model_zoo.spec import ModelSpec
from service.admission import Admission
from service.batching import Batcher
from service.devices import Device
from service.errors import InvalidRequest, ModelFailed, ModelNotReady, UnknownModel
from service.images import ImageLimits
from service.metrics import Metrics
from service.pipeline import Segmenter
from service.runtimes.runtime import RuntimeBuilder
from service.settings import BadSetting, Settings

log = logging.getLogger(__name__)


_LONGEST_BLANK = 1024


class NoUsableModel(ValueError):
    """There is nothing to serve; the message says where was looked and what is wrong."""


class State(StrEnum):
    """Say where a model is in its life."""

    LOADING = "loading"
    READY = "ready"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Candidate:
    """Hold a checkpoint file that was found, and what its header says or why it cannot be used."""

    path: Path
    name: str
    inspection: Inspection | None = None
    problem: str | None = None


@dataclass(slots=True)
class Model:
    """Hold a model of the registry; ``problem`` says in public words why it has failed."""

    candidate: Candidate
    state: State
    problem: str | None = None
    segmenter: Segmenter | None = None


def discover(path: Path) -> list[Candidate]:
    """Read the headers of a checkpoint file, or of all in a folder, by file name.

    Raises:
        NoUsableModel: The path does not exist or cannot be read, the folder is empty, or no file is a checkpoint.
    """
    candidates = _name_apart([_examine(file) for file in _find(path)])
    refuse_if_hopeless([(candidate.path, candidate.problem) for candidate in candidates])
    return candidates


def refuse_if_hopeless(problems: Sequence[tuple[Path, str | None]]) -> None:
    """Do nothing while any file is free of problems.

    Raises:
        NoUsableModel: All have one; the message holds them.
    """
    if all(problem is not None for _, problem in problems):
        told = "; ".join(f"{path}: {problem}" for path, problem in problems)
        raise NoUsableModel(f"checkpoints: none can be used: {told}")


class Registry:
    """Hold the models by name; ``load`` brings them up, one after the other. No thread is started before it.

    Raises:
        BadSetting: The settings name a default model that does not exist.
    """

    def __init__(
        self,
        candidates: Sequence[Candidate],
        settings: Settings,
        metrics: Metrics,
        device: Device,
        *,
        build: RuntimeBuilder,
    ) -> None:
        self._settings = settings
        self._metrics = metrics
        self.device = device
        self._codecs = ThreadPoolExecutor(settings.codec_threads, thread_name_prefix="codec")
        self._build = build
        self._is_draining = False
        self.models = {
            candidate.name: Model(candidate, State.FAILED if candidate.problem else State.LOADING, candidate.problem)
            for candidate in candidates
        }
        self.default = self._choose_default()

    @property
    def is_draining(self) -> bool:
        """Whether the service is on its way to stop."""
        return self._is_draining

    @property
    def is_ready(self) -> bool:
        """Whether requests are welcome: nothing is loading, the default model (or else any) is ready, no drain."""
        states = [model.state for model in self.models.values()]
        wanted = states if self.default is None else [self.models[self.default].state]
        return State.READY in wanted and State.LOADING not in states and not self._is_draining

    def find(self, name: str | None) -> Model:
        """Give the model of that name, or the default one.

        Raises:
            UnknownModel: There is none of that name.
            InvalidRequest: No name was given, and there are several models and no default.
        """
        known = ", ".join(self.models)
        chosen = name if name is not None else self.default
        if chosen is None:
            raise InvalidRequest(f"several models are served and none is the default; name one of {known}")
        if chosen not in self.models:
            raise UnknownModel(f"no model {chosen[:100]!r}, served are {known}")
        return self.models[chosen]

    def segmenter(self, name: str | None) -> Segmenter:
        """Give what answers for a model.

        Raises:
            ModelNotReady: The model is loading.
            ModelFailed: The model could not be loaded; or as ``find``.
        """
        model = self.find(name)
        if model.state is State.FAILED:
            raise ModelFailed(f"model {model.candidate.name} is failed: {model.problem}")
        if model.segmenter is None:
            raise ModelNotReady(f"model {model.candidate.name} is {model.state}")
        return model.segmenter

    async def load(self) -> None:
        """Load what was found. One that fails says why and leaves the others alone.

        Raises:
            NoUsableModel: None is left.
        """
        for model in self.models.values():
            if model.state is State.LOADING:
                await self._load(model)
        refuse_if_hopeless([(model.candidate.path, model.problem) for model in self.models.values()])

    def drain(self) -> None:
        """Say from now on that the service is not ready; requests are still answered."""
        self._is_draining = True

    def close_admission(self) -> None:
        """Take no more requests; those that are in are still answered."""
        self._is_draining = True
        for model in self.models.values():
            if model.segmenter is not None:
                model.segmenter.admission.close()

    async def close(self) -> None:
        """Answer whoever waits, and wait for all threads to end."""
        self.close_admission()
        for model in self.models.values():
            if model.segmenter is not None:
                await model.segmenter.close()
        await asyncio.to_thread(self._codecs.shutdown, wait=True, cancel_futures=True)
        await asyncio.to_thread(self.device.close)

    async def _load(self, model: Model) -> None:
        path, name = model.candidate.path, model.candidate.name
        try:
            checkpoint = await asyncio.to_thread(verify, path)
            model.segmenter = await self._start(checkpoint)
            model.state = State.READY
            log.info("model ready", extra={"model": name, "device": str(self.device.device)})
        except BadCheckpoint as error:
            model.state, model.problem = State.FAILED, _public(error, path)
            log.error("model failed", extra={"model": name, "problem": model.problem})  # noqa: TRY400  # says it all
        except Exception:  # whatever a network does when it is built or run; /models and the log tell of it
            model.state, model.problem = State.FAILED, "it could not be loaded, the log says why"
            log.exception("model failed", extra={"model": name})

    async def _start(self, checkpoint: Checkpoint) -> Segmenter:
        """Bring a checkpoint onto the device, run it once, and give what answers for it."""
        settings, name = self._settings, checkpoint.header.name
        runtime = await self.device.run(self._build, checkpoint, self.device.device, settings)
        await self.device.run(runtime, [_blank(checkpoint.header.spec)], probabilities=True)
        return Segmenter(
            header=checkpoint.header,
            batcher=Batcher(
                runtime,
                self.device,
                max_batch_size=settings.max_batch_size,
                max_delay=settings.max_batch_delay,
                on_batch=self._batch_counter(name),
            ),
            admission=Admission(settings.max_in_flight, on_change=self._metrics.in_flight.labels(name).set),
            codecs=self._codecs,
            limits=ImageLimits(settings.max_image_pixels, settings.max_image_side),
            metrics=self._metrics,
        )

    def _batch_counter(self, name: str) -> Callable[[int], None]:
        def count(size: int) -> None:
            self._metrics.batch_size.labels(name).observe(size)
            self._metrics.forwarded.labels(name).inc(size)

        return count

    def _choose_default(self) -> str | None:
        wanted = self._settings.default_model
        if wanted is None:
            usable = [name for name, model in self.models.items() if model.problem is None]
            return usable[0] if len(usable) == 1 else None
        if wanted not in self.models:
            nearest = get_close_matches(wanted, self.models, n=1)
            hint = f"did you mean {nearest[0]}?" if nearest else f"there are {', '.join(self.models)}"
            raise BadSetting(f"bad setting default_model={wanted}: no such model; {hint}")
        return wanted


def _find(path: Path) -> list[Path]:
    try:
        if not path.exists():
            raise NoUsableModel(f"checkpoints: {path} does not exist")
        files = sorted(path.glob(f"*{SUFFIX}")) if path.is_dir() else [path]
    except OSError as error:
        raise NoUsableModel(f"checkpoints: {path}: {error.strerror}") from error
    if not files:
        raise NoUsableModel(f"checkpoints: there is no *{SUFFIX} file in {path}")
    return files


def _examine(file: Path) -> Candidate:
    try:
        inspection = inspect(file)
    except BadCheckpoint as error:
        return Candidate(file, file.stem, problem=_public(error, file))
    return Candidate(file, inspection.header.name, inspection)


def _name_apart(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Give each a name of its own: the first that can be used has its model's, the others spare ones."""
    named: dict[str, Candidate] = {}
    for candidate in candidates:
        if candidate.problem is None:
            named.setdefault(candidate.name, candidate)
    for candidate in candidates:
        if named.get(candidate.name) is candidate:
            continue
        spare = candidate.path.stem
        while spare in named:
            spare += SUFFIX
        problem = candidate.problem or f"another file already has a model named {candidate.name}"
        named[spare] = replace(candidate, name=spare, problem=problem)
    return sorted(named.values(), key=lambda candidate: candidate.path)


def _public(error: BadCheckpoint, path: Path) -> str:
    """Give an error's message without the folder that the file is in."""
    return str(error).removeprefix(f"{path}: ").replace(str(path), path.name)


def _blank(spec: ModelSpec) -> NetworkInput:
    """Make an image to warm up on, of the size that the model's images have or, where that is large, a smaller one."""
    side = 512 if spec.size.policy == "native" else min(spec.size.side, _LONGEST_BLANK)
    size = spec.size.model_copy(update={"side": side})
    return network_input(Image.new("RGB", (side, side * 3 // 4)), spec.model_copy(update={"size": size}))
