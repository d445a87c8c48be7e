"""Hold a model that is in memory, from the first to the last image that it answers."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from model_zoo.card import CheckpointHeader
from service.batching import Batcher
from service.holds import Holds
from service.warmup import WarmUp


@dataclass(frozen=True, slots=True)
class Footprint:
    """Hold what a model takes of each device's memory: its weights, and beside them the most during a pass."""

    weights_bytes: int
    peak_bytes: int


@dataclass(slots=True, eq=False)
class Segmenter:
    """Hold one served model, ready to answer.

    ``warm_ups`` has what was measured on each of its devices, ``tuning_note`` what became of what was tuned, if it was.
    """

    header: CheckpointHeader
    batcher: Batcher
    footprint: Footprint
    warm_ups: Sequence[WarmUp]
    tuning_note: str | None = None
    loaded_at: float = field(default_factory=time.monotonic)
    last_used: float = field(default_factory=time.monotonic)
    _holds: Holds = field(default_factory=Holds)

    @property
    def is_in_use(self) -> bool:
        """Whether somebody holds it."""
        return self._holds.count > 0

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep it from being closed meanwhile."""
        try:
            with self._holds.held():
                yield
        finally:
            self.last_used = time.monotonic()

    async def close(self) -> None:
        """Wait until nobody holds it, and end its batcher. To be called when nobody new can come."""
        await self._holds.until_free()
        await self.batcher.close()
