"""Decide which models are in memory: load on demand, keep within the budget, evict whoever was not used for longest.

Only one model is loaded at a time. Who is to make room takes no new requests, answers those that it has, and goes; so a
model in use is never taken away, and the models that stay go on as if nothing were.
"""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import suppress
from dataclasses import replace

from model_zoo.allocator import give_back_freed_memory
from model_zoo.checkpoint import BadCheckpoint
from service.batch_limits import Shape
from service.budget import Budget, choose_limit, estimate
from service.catalog import Candidate, public_words
from service.devices import is_out_of_memory
from service.errors import ModelFailed, ModelNotReady, NoRoom, ServiceError, ShuttingDown
from service.loading import Loader
from service.metrics import Metrics
from service.models import Model, State
from service.segmenter import Footprint, Segmenter
from service.settings import Settings

log = logging.getLogger(__name__)

_RETRY_DELAY = 2.0
_LONGEST_RETRY_DELAY = 60.0


class Residency:
    """Bring models into memory and take them out again."""

    def __init__(self, loader: Loader, settings: Settings, metrics: Metrics) -> None:
        self._loader = loader
        self._settings = settings
        self._metrics = metrics
        limit = choose_limit(settings, (device.device for device in loader.devices))
        self._budget = Budget(limit, min_residence=settings.min_residence)
        self._loads: set[asyncio.Task[None]] = set()
        self._turn = asyncio.Lock()
        self._num_waiting = 0
        if limit is not None:
            metrics.memory_budget_bytes.set(limit)

    async def bring(self, model: Model, *, may_evict: bool = True) -> None:
        """Have a model in memory; many who ask at once wait for one load.

        With ``may_evict`` off no other model makes room for it; where there is none it stays where it was.

        Raises:
            ModelFailed: Its checkpoint cannot be loaded.
            ModelNotReady: An operator has unloaded it, or it goes.
            NoRoom: The models in use, or pinned, leave no room for it.
            OutOfMemory, DeviceFailed: As they say.
        """
        if model.state is State.READY:
            return
        _check_loadable(model)
        if model.loading is None:
            self._check_queue(model)
            model.loading = asyncio.create_task(self._load(model, may_evict=may_evict), name=f"load {model.key}")
            self._loads.add(model.loading)
            model.loading.add_done_callback(self._hear)
        loading = model.loading
        try:
            await asyncio.shield(loading)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if loading.cancelled() and task is not None and not task.cancelling():  # it was the load that was ended
                raise ShuttingDown("the service stopped before the model was loaded") from None
            raise

    async def exchange(self, model: Model, candidate: Candidate) -> None:
        """Put the checkpoint of a newer file in the place of the one that serves, without a gap.

        Raises:
            BadCheckpoint, NoRoom, OutOfMemory, DeviceFailed: The newer one cannot serve; the older one goes on.
        """
        async with self._turn:
            older = model.segmenter
            if older is None:  # it was evicted meanwhile; the next request loads the newer file
                model.candidate, model.footprint, model.warm_ups = candidate, None, []
                return
            await self._make_room(estimate(candidate), keep=model)
            newer = await self._loader.load(candidate, shapes=_usual_shapes(older, candidate))
            if model.segmenter is not older:  # somebody has taken it out meanwhile
                await newer.close()
                model.candidate, model.footprint, model.warm_ups = candidate, None, []
                return
            model.candidate = candidate
            self._publish(model, newer)
        await self._close(older, "replaced")
        await self._fit(model)

    async def drop(self, model: Model, reason: str) -> None:
        """Take a model out of memory once it has answered whoever holds it; nobody new gets at it."""
        segmenter, model.segmenter = model.segmenter, None
        if model.state is State.READY:
            model.state = State.UNLOADED
        if segmenter is not None:
            await self._close(segmenter, reason)

    def idle_models(self) -> list[Model]:
        """List the models that nobody has used for as long as the settings allow."""
        return self._budget.idle(self._settings.idle_unload) if self._settings.idle_unload else []

    def has_room_for(self, model: Model) -> bool:
        """Tell whether a model could be loaded without taking another out."""
        return self._budget.lacking(model.footprint or estimate(model.candidate)) <= 0

    async def close(self) -> None:
        """Take everything out of memory, and end the loading thread."""
        loads = list(self._loads)
        for load in loads:
            load.cancel()
        await asyncio.gather(*loads, return_exceptions=True)
        await asyncio.gather(*(segmenter.batcher.close() for segmenter in self._budget.in_memory))
        self._budget.in_memory.clear()
        await asyncio.to_thread(self._loader.close)

    async def _load(self, model: Model, *, may_evict: bool) -> None:
        model.state = State.LOADING
        self._num_waiting += 1
        try:
            async with self._turn:
                _check_loadable(model)
                await self._make_room(model.footprint or estimate(model.candidate), keep=model, may_evict=may_evict)
                segmenter = await self._loader.load(model.candidate, known=model.warm_ups)
                try:
                    await self._check_fit(segmenter, model, may_evict=may_evict)
                    self._publish(model, segmenter)
                except BaseException:
                    await segmenter.close()
                    raise
        except Exception as error:  # whatever a network does when it is built or run; /models and the log tell of it
            self._fail(model, error)
        finally:
            self._num_waiting -= 1
            model.loading = None
            if model.state is State.LOADING:  # cancelled
                model.state = State.UNLOADED

    def _publish(self, model: Model, segmenter: Segmenter) -> None:
        """Let a segmenter answer for its model from now on."""
        if model.state is State.REMOVED:
            raise ModelNotReady(f"model {model.key} was removed while it was loaded")
        self._budget.in_memory[segmenter] = model
        model.segmenter, model.state, model.problem, model.rejected = segmenter, State.READY, None, None
        model.footprint, model.warm_ups = segmenter.footprint, list(segmenter.warm_ups)
        model.num_loads += 1
        model.num_failures = 0
        self._metrics.loads.labels(model.name, "ok").inc()
        self._metrics.model_bytes.labels(model.key, "weights").set(segmenter.footprint.weights_bytes)
        self._metrics.model_bytes.labels(model.key, "peak").set(segmenter.footprint.peak_bytes)
        devices = [replica.device.name for replica in segmenter.batcher.replicas]
        log.info("model ready", extra={"model": model.key, "devices": devices, "loads": model.num_loads})

    def _fail(self, model: Model, error: Exception) -> None:
        """Say why a model is not in memory: for good, or until there is room or a device for it."""
        passes = is_passing(error)
        if model.state is not State.REMOVED:
            model.state = State.UNLOADED if passes else State.FAILED
        model.problem = tell(error, model.candidate)
        model.num_failures += 1
        model.retry_at = time.monotonic() + min(_LONGEST_RETRY_DELAY, _RETRY_DELAY * model.num_failures)
        self._metrics.loads.labels(model.name, "failed").inc()
        known = isinstance(error, (BadCheckpoint, ServiceError))
        log.error(
            "model failed", extra={"model": model.key, "problem": model.problem}, exc_info=None if known else error
        )
        if isinstance(error, ServiceError):
            raise error
        if passes:
            raise ModelNotReady(f"model {model.key} could not be loaded just now: {model.problem}") from error
        raise ModelFailed(f"model {model.key} is failed: {model.problem}") from error

    async def _make_room(self, need: Footprint, *, keep: Model, may_evict: bool = True) -> None:
        """Take models out until there is room.

        Raises:
            NoRoom: There would not be enough even without all that may be taken out.
        """
        budget = self._budget
        while budget.lacking(need) > 0:
            victim = budget.next_victim(keep) if may_evict and budget.could_hold(need, keep) else None
            if victim is None or victim.segmenter is None:
                raise NoRoom(budget.tell_lack(need, keep))
            rest = budget.rest(victim.segmenter)
            if rest > self._settings.request_timeout:
                raise NoRoom(f"{budget.tell_lack(need, keep)}, and none of them may go for {rest:.0f} s")
            if rest > 0:
                await self._wait_aside(rest)  # and look again: another one may be the better choice by then
                continue
            log.info("model evicted", extra={"model": victim.key, "for": keep.key})
            await self.drop(victim, "evicted")

    async def _check_fit(self, segmenter: Segmenter, model: Model, *, may_evict: bool) -> None:
        """Make room for what a model was measured to need, now that this is known."""
        model.footprint, model.warm_ups = segmenter.footprint, list(segmenter.warm_ups)
        await self._make_room(segmenter.footprint, keep=model, may_evict=may_evict)

    async def _fit(self, model: Model) -> None:
        """Get back below the budget after an exchange, as far as possible."""
        async with self._turn:
            try:
                await self._make_room(Footprint(0, 0), keep=model)
            except NoRoom as error:
                log.warning("over the memory budget", extra={"model": model.key, "problem": error.detail})

    async def _wait_aside(self, seconds: float) -> None:
        """Sleep, and let others load meanwhile."""
        self._turn.release()
        try:
            await asyncio.sleep(seconds)
        finally:
            await self._turn.acquire()

    def _check_queue(self, model: Model) -> None:
        """Refuse a load that would have to wait for others longer than anybody waits for an answer."""
        patience = self._settings.request_timeout
        expected = (self._num_waiting + 1) * self._settings.min_residence
        if self._num_waiting and expected > patience and not self.has_room_for(model):
            message = (
                f"{self._num_waiting} models wait for memory, model {model.key} would be loaded in {expected:.0f} s"
            )
            raise NoRoom(message)

    def _hear(self, loading: asyncio.Task[None]) -> None:
        """Take note of a load's failure, which the log has, also when nobody waits for it any more."""
        self._loads.discard(loading)
        if not loading.cancelled():
            loading.exception()

    async def _close(self, segmenter: Segmenter, reason: str) -> None:
        """Wait until a segmenter has answered all who hold it, and give its memory back."""
        model, replicas = self._budget.in_memory[segmenter], segmenter.batcher.replicas
        devices = [replica.device for replica in replicas]
        if model.warm_ups == list(segmenter.warm_ups):  # what lack of memory has taught is known at the next load
            model.warm_ups = [
                replace(warm, batch_sizes={**warm.batch_sizes, **replica.limits.lowered})
                for warm, replica in zip(segmenter.warm_ups, replicas, strict=True)
            ]
        del replicas
        await segmenter.close()
        del self._budget.in_memory[segmenter]
        for device in devices:
            if not device.is_broken:
                await device.free_cache()
        await asyncio.to_thread(give_back_freed_memory)
        if model.segmenter is None:
            for kind in ("weights", "peak"):
                with suppress(KeyError):  # of older prometheus-clients, if it is gone already
                    self._metrics.model_bytes.remove(model.key, kind)
        self._metrics.unloads.labels(model.name, reason).inc()
        log.info("model unloaded", extra={"model": model.key, "reason": reason})


def is_passing(error: Exception) -> bool:
    """Tell whether a load that failed so may succeed later, though its file stays the same."""
    if isinstance(error, BadCheckpoint):
        return isinstance(error.__cause__, OSError)  # it could not be read now
    return isinstance(error, ServiceError) or is_out_of_memory(error)


def tell(error: Exception, candidate: Candidate) -> str:
    """Give in public words why a checkpoint could not be loaded."""
    if isinstance(error, BadCheckpoint):
        return public_words(error, candidate.path)
    return error.detail if isinstance(error, ServiceError) else "it could not be loaded, the log says why"


def _check_loadable(model: Model) -> None:
    if model.state is State.FAILED:
        raise ModelFailed(f"model {model.key} is failed: {model.problem}")
    if model.state is State.REMOVED:
        raise ModelNotReady(f"model {model.key} is going")
    if model.is_withheld:
        raise ModelNotReady(f"model {model.key} was unloaded by an operator")
    if model.loading is None and time.monotonic() < model.retry_at:
        raise ModelNotReady(f"model {model.key} could not be loaded just now: {model.problem}")


def _usual_shapes(older: Segmenter, newer: Candidate) -> list[Shape]:
    """Give the shapes that images have had, if those of a newer checkpoint will have them, too."""
    if newer.inspection is None or newer.inspection.header.spec.size != older.header.spec.size:
        return []
    return [shape for shape, _ in older.batcher.shapes.most_common()]
