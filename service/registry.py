"""Keep the served models by name: which there are, and who answers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from difflib import get_close_matches

from service.admission import Admission
from service.catalog import Candidate, Catalog, NoUsableModel, examine, refuse_if_hopeless
from service.devices import Device
from service.errors import DeviceFailed, InvalidRequest, ModelFailed, ModelNotReady, UnknownModel
from service.holds import Holds
from service.loading import Loader
from service.metrics import Metrics
from service.models import Model, State
from service.residency import Residency
from service.runtimes.runtime import RuntimeBuilder
from service.segmenter import Segmenter
from service.settings import BadSetting, Settings
from service.succession import Succession

log = logging.getLogger(__name__)


class Registry:
    """Hold the models; ``start`` brings them up, and ``watch`` follows the folder that they come from.

    Models are kept by ``name@version``; a name alone means its newest version that can answer. No thread is started
    before ``start``.

    Raises:
        BadSetting: The settings name a model that does not exist.
        NoUsableModel: There is nothing to serve.
    """

    def __init__(
        self,
        catalog: Catalog,
        devices: Sequence[Device],
        settings: Settings,
        metrics: Metrics,
        *,
        runtimes: Mapping[str, RuntimeBuilder],
    ) -> None:
        self.devices = tuple(devices)
        self.models: dict[str, Model] = {}
        self._catalog = catalog
        self._settings = settings
        self._shipped_default = settings.shipped_default
        self._metrics = metrics
        self._residency = Residency(Loader(devices, settings, metrics, runtimes=runtimes), settings, metrics)
        self._succession = Succession(
            self.models, self._residency, metrics, welcome=self._welcome, is_eager=settings.loading == "eager"
        )
        self._has_started = False
        self._is_draining = False
        self._is_closed_to_all = False
        for candidate in catalog.candidates:
            self._welcome(candidate)
        if not catalog.is_folder:
            refuse_if_hopeless(catalog.candidates)
        if settings.strict:
            self._refuse_problems()
        self._default = self._choose_default()
        for name in settings.pinned:
            self._check_known(name, "pinned_models")

    @property
    def is_draining(self) -> bool:
        """Whether the service is on its way to stop."""
        return self._is_draining

    @property
    def has_started(self) -> bool:
        """Whether all models found at the start have been tried."""
        return self._has_started

    @property
    def is_ready(self) -> bool:
        """Whether requests are welcome: it runs, a device works, the default model (or any) answers."""
        if not self._has_started or self._is_draining or self.device_problem is not None:
            return False
        name = self._default_name
        wanted = list(self.models.values()) if name is None else self._versions(name)
        return any(model.is_usable for model in wanted)

    @property
    def default(self) -> Model | None:
        """Give the model that answers when a request names none."""
        name = self._default_name
        versions = [] if name is None else self._versions(name)
        return versions[0] if versions else None

    @property
    def device_problem(self) -> str | None:
        """Say what is wrong with the devices, if none of them works."""
        problems = [device.problem for device in self.devices]
        return None if None in problems else f"{self.devices[0].name}: {problems[0]}"

    def find(self, name: str | None) -> Model:
        """Give the model of a name, with or without ``@version``, or the default one.

        Raises:
            UnknownModel: There is none of that name.
            InvalidRequest: No name was given, and there are several models and no default.
        """
        known = ", ".join(self.models) or "none"
        wanted = name or self._default_name
        if wanted is None:
            raise InvalidRequest(f"several models are served and none is the default; name one of {known}")
        versions = self._versions(wanted)
        if not versions:
            raise UnknownModel(f"no model {wanted[:100]!r}, served are {known}")
        return versions[0]

    def check(self, model: Model) -> None:
        """Do nothing if a request for a model has a chance to be answered; its admission has a say of its own.

        Raises:
            ModelFailed: The model could not be loaded.
            ModelNotReady: The service is still loading its first models, this one among them.
            DeviceFailed: No device works.
        """
        is_early = not self._has_started and self._settings.loading == "eager"
        if is_early and model.state in {State.UNLOADED, State.LOADING}:
            raise ModelNotReady(f"model {model.key} is loading")
        if (problem := self.device_problem) is not None:
            raise DeviceFailed(f"no device works: {problem}")
        if model.state is State.FAILED:
            raise ModelFailed(f"model {model.key} is failed: {model.problem}")

    @asynccontextmanager
    async def hold(self, model: Model) -> AsyncIterator[Segmenter]:
        """Have a model in memory for as long as it is needed.

        Raises:
            ServiceError: As ``Residency.bring``.
        """
        while (segmenter := model.segmenter) is None:
            await self._residency.bring(model)
        with segmenter.held():
            yield segmenter

    async def start(self) -> None:
        """Load what was found, as far as there is room. One that fails says why and leaves the others alone.

        Raises:
            NoUsableModel: The settings are strict, and one has failed.
        """
        first = self.default
        await self._succession.load_all(lambda model: model is first or model.is_pinned)
        self._has_started = True
        if self._settings.strict:
            self._refuse_problems()

    async def watch(self) -> None:
        """Follow the changes of the checkpoint folder, and unload what is idle, until cancelled."""
        interval = self._settings.watch_interval
        while True:
            await asyncio.sleep(interval or 1.0)
            for model in self._residency.idle_models():
                self._succession.drop(model, "idle")
            self._succession.retry()
            if interval:
                await self._look()

    async def load(self, model: Model) -> None:
        """Bring a model into memory as an operator asks.

        Raises:
            ServiceError: As ``Residency.bring``.
        """
        model.is_withheld, model.retry_at = False, 0.0
        if model.state is State.UNLOADED:
            model.problem = None
        await self._residency.bring(model)

    async def unload(self, model: Model) -> None:
        """Take a model out of memory as an operator asks; it stays out until it is loaded again."""
        model.is_withheld = True
        if model.loading is not None:
            await asyncio.wait([model.loading])
        await self._residency.drop(model, "asked")
        if model.state is State.UNLOADED:
            model.problem = "unloaded by an operator"

    async def reload(self, model: Model) -> None:
        """Read a model's file anew and let it answer.

        Raises:
            ModelFailed: The file cannot serve; what served before goes on.
            ServiceError: As ``Residency.bring``.
        """
        candidate = await asyncio.to_thread(examine, model.newest.path)
        if candidate.problem is None and candidate.key != model.key:
            raise ModelFailed(f"the file of model {model.key} now holds {candidate.key}")
        await self._succession.replace(model, candidate)
        if model.rejected is not None:
            raise ModelFailed(f"model {model.key} goes on as before: {model.rejected}")
        await self.load(model)

    def drain(self) -> None:
        """Say from now on that the service is not ready; requests are still answered."""
        self._is_draining = True

    def close_admission(self) -> None:
        """Take no more requests; those that are in are still answered."""
        self._is_draining = self._is_closed_to_all = True
        for model in self.models.values():
            model.admission.close()

    async def close(self) -> None:
        """Answer whoever waits, and wait for all threads to end."""
        self.close_admission()
        await self._succession.close()
        await self._residency.close()
        for device in self.devices:
            await asyncio.to_thread(device.close)

    async def _look(self) -> None:
        try:
            found = await asyncio.to_thread(self._catalog.look)
        except NoUsableModel as error:  # a folder that cannot be read now says nothing about the models that serve
            log.warning("checkpoints cannot be looked at", extra={"problem": str(error)})
        else:
            self._succession.follow(found)

    def _welcome(self, candidate: Candidate) -> Model:
        """Make a model of a file, not loaded yet."""
        settings = self._settings
        admission = Admission(
            max_images=settings.max_in_flight,
            max_pixels=settings.max_in_flight_pixels,
            on_change=self._metrics.in_flight.labels(candidate.name).inc,
        )
        if self._is_closed_to_all:
            admission.close()
        state = State.UNLOADED if candidate.problem is None else State.FAILED
        visitors = Holds(on_change=self._metrics.visitors.labels(candidate.name).inc)
        model = Model(candidate, candidate, admission, visitors, state, candidate.problem)
        model.is_pinned = bool({model.name, model.key} & settings.pinned)
        self.models[model.key] = model
        return model

    def _versions(self, name: str) -> list[Model]:
        """Give the models that a name means, the best first: one that can answer, the newest of those."""
        versions = [model for model in self.models.values() if name in {model.key, model.name}]
        if len(versions) < 2:
            return versions
        return sorted(versions, key=lambda model: (model.can_answer_now, model.is_usable, model.age), reverse=True)

    def _refuse_problems(self) -> None:
        told = [f"{model.candidate.path}: {model.problem}" for model in self.models.values() if model.problem]
        if told:
            raise NoUsableModel(f"checkpoints: strict, and these cannot be served: {'; '.join(told)}")

    @property
    def _default_name(self) -> str | None:
        """Give the default's name: the one that was set, or else the usual one, for as long as there is one."""
        if self._settings.default_model is None and (self._default is None or not self._versions(self._default)):
            self._default = self._usual_name()
        return self._default

    def _choose_default(self) -> str | None:
        wanted = self._settings.default_model
        if wanted is None:
            return self._usual_name()
        self._check_known(wanted, "default_model")
        return wanted

    def _usual_name(self) -> str | None:
        """Give the name of the default among the models that ship, if they are served, or else of the only model."""
        if self._shipped_default is not None and self._versions(self._shipped_default):
            return self._shipped_default
        names = {model.name for model in self.models.values() if model.candidate.problem is None}
        return names.pop() if len(names) == 1 else None

    def _check_known(self, name: str, setting: str) -> None:
        if not self._versions(name):
            nearest = get_close_matches(name, [model.name for model in self.models.values()], n=1)
            hint = f"did you mean {nearest[0]}?" if nearest else f"there are {', '.join(self.models)}"
            raise BadSetting(f"bad setting {setting}={name}: no such model; {hint}")
