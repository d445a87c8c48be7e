"""Let the served models follow their files: what comes, what takes another's place, and what goes."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from typing import Any

from service.catalog import Candidate
from service.errors import NoRoom
from service.metrics import Metrics
from service.models import Model, State
from service.residency import Residency, is_passing, tell

log = logging.getLogger(__name__)

_RETRY_DELAY = 10.0


class Succession:
    """Compare the models with the files that there are now, and bring about what differs.

    ``welcome`` makes a model of a file and puts it among ``models``; the tasks that this starts end with ``close``.
    """

    def __init__(
        self,
        models: dict[str, Model],
        residency: Residency,
        metrics: Metrics,
        *,
        welcome: Callable[[Candidate], Model],
        is_eager: bool,
    ) -> None:
        self._models = models
        self._residency = residency
        self._metrics = metrics
        self._welcome = welcome
        self._is_eager = is_eager
        self._tasks: set[asyncio.Task[None]] = set()

    def follow(self, found: Sequence[Candidate]) -> None:
        """Let the models be those of the files that were found."""
        kept = {self._follow_one(candidate) for candidate in found}
        paths = {candidate.path for candidate in found}
        for model in list(self._models.values()):
            is_spared = model.is_handing_over or (model.rejected is not None and model.newest.path in paths)
            if model not in kept and not is_spared:
                self._run(self._retire(model))

    async def replace(self, model: Model, candidate: Candidate) -> None:
        """Let a newer file answer for a model; if it cannot, say so and go on as before."""
        model.newest = candidate
        if model.loading is not None:
            await asyncio.wait([model.loading])
        if model.newest is not candidate:  # an even newer one came meanwhile
            return
        if candidate.problem is not None:
            self._reject(model, candidate.problem)
        elif model.state is State.READY:
            await self._exchange(model, candidate)
        else:
            model.candidate, model.state, model.problem = candidate, State.UNLOADED, None
            model.footprint, model.warm_ups, model.retry_at = None, [], 0.0
            await self._bring_up(model, self._predecessors(model))

    def drop(self, model: Model, reason: str) -> None:
        """Take a model out of memory, in the background."""
        self._run(self._residency.drop(model, reason))

    async def load_all(self, is_first: Callable[[Model], bool]) -> None:
        """Load the models that there are, one after the other, if that is wanted and as far as there is room."""
        for model in sorted(self._models.values(), key=is_first, reverse=True):
            if self._is_eager:
                await self._load_early(model)

    def retry(self) -> None:
        """Try again to load what could not be loaded for a reason that may have passed."""
        for model in self._models.values():
            has_failed = model.state is State.UNLOADED and model.num_failures > 0 and not model.is_withheld
            if has_failed and model.loading is None and time.monotonic() >= model.retry_at:
                before = self._predecessors(model)
                self._run(self._bring_up(model, before) if before else self._load_early(model))

    async def close(self) -> None:
        """End what is going on."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _follow_one(self, candidate: Candidate) -> Model:
        """Give the model that a file belongs to, and begin whatever its change asks for."""
        model = self._models.get(candidate.key) or self._owner_of_broken(candidate)
        if model is None:
            model = self._welcome(candidate)
            model.is_coming = True
            self._run(self._bring_up(model, self._predecessors(model)))
        elif candidate != model.newest and time.monotonic() >= model.retry_at:
            model.newest = candidate
            self._run(self.replace(model, candidate))
        return model

    def _owner_of_broken(self, candidate: Candidate) -> Model | None:
        """Give the model that came from a file in which none can be found any more."""
        if candidate.problem is None:
            return None
        of_file = (model for model in self._models.values() if model.newest.path == candidate.path)
        return next(of_file, None)

    async def _bring_up(self, model: Model, before: Sequence[Model]) -> None:
        """Make a model ready, and only then take out those ``before``, which its file held and must stay until then."""
        if before:
            with suppress(Exception):  # the model's problem and the log tell of it
                await self._residency.bring(model)
        elif self._is_eager:
            await self._load_early(model)
        model.is_coming = False
        for other in before:
            other.is_handing_over = False
            if model.state is State.READY:
                await self._retire(other)
            else:
                self._reject(other, f"its file now holds {model.key}, which cannot be served: {model.problem}")

    def _predecessors(self, model: Model) -> list[Model]:
        """Give the models in memory that came from the file that now holds another; they begin to hand over."""
        found = [
            other
            for other in self._models.values()
            if other.newest.path == model.newest.path and other is not model and other.segmenter is not None
        ]
        for other in found:
            other.is_handing_over = True
        return found

    async def _load_early(self, model: Model) -> None:
        """Load a model that nobody has asked for yet, if there is room."""
        if model.state is not State.UNLOADED or not self._residency.has_room_for(model):
            return
        with suppress(Exception):  # the model's problem and the log tell of it
            try:
                await self._residency.bring(model, may_evict=False)
            except NoRoom:  # now that it was measured; the first request makes room for it
                model.problem, model.retry_at = None, 0.0

    async def _exchange(self, model: Model, candidate: Candidate) -> None:
        try:
            await self._residency.exchange(model, candidate)
        except Exception as error:  # whatever a network does when it is built or run; /models and the log tell of it
            log.warning("exchange failed", exc_info=error, extra={"model": model.key})
            self._reject(model, tell(error, candidate))
            if is_passing(error):  # the next look at the folder tries again, after a while
                model.newest, model.retry_at = model.candidate, time.monotonic() + _RETRY_DELAY
        else:
            self._metrics.swaps.labels(model.name, "ok").inc()
            log.info("model replaced", extra={"model": model.key})

    def _reject(self, model: Model, reason: str) -> None:
        self._metrics.swaps.labels(model.name, "failed").inc()
        if model.state is State.READY:
            model.rejected = reason
            log.error("newer file rejected", extra={"model": model.key, "problem": reason})
        else:
            model.state, model.problem = State.FAILED, reason
            log.error("model failed", extra={"model": model.key, "problem": reason})

    async def _retire(self, model: Model) -> None:
        """Let nobody find a model any more, and end it once those who have found it are answered."""
        if self._models.pop(model.key, None) is None:
            return
        await model.visitors.until_free()
        model.state = State.REMOVED
        await self._residency.drop(model, "removed")
        log.info("model removed", extra={"model": model.key})

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._forget)

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if (
            not task.cancelled() and (error := task.exception()) is not None
        ):  # our own bug; nobody else would hear of it
            log.error("following the checkpoints failed", exc_info=error)
