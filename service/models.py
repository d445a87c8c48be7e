"""Say what is known of a model: its file, where it is in its life, and what holds it in memory."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass, field
from enum import StrEnum

from service.admission import Admission
from service.catalog import Candidate
from service.holds import Holds
from service.segmenter import Footprint, Segmenter
from service.warmup import WarmUp


class State(StrEnum):
    """Say where a model is in its life."""

    UNLOADED = "unloaded"
    LOADING = "loading"
    READY = "ready"
    FAILED = "failed"
    REMOVED = "removed"


@dataclass(slots=True, eq=False)
class Model:
    """Hold a model of the registry.

    ``candidate`` is the file that is served, or would be; ``newest`` is the last that was seen in its place. Requests
    are ``visitors`` from the moment that they have found it.
    ``problem`` says in public words why it could not be loaded, ``rejected`` why a newer file could not take the place
    of what is served. ``is_withheld``: an operator has unloaded it, and requests do not bring it back. ``is_coming``:
    it is new, and about to be loaded. ``is_handing_over``: what its file holds now is being loaded to take its place.
    """

    candidate: Candidate
    newest: Candidate
    admission: Admission
    visitors: Holds
    state: State = State.UNLOADED
    problem: str | None = None
    rejected: str | None = None
    is_pinned: bool = False
    is_withheld: bool = False
    is_coming: bool = False
    is_handing_over: bool = False
    segmenter: Segmenter | None = None
    footprint: Footprint | None = None
    warm_ups: list[WarmUp] = field(default_factory=list)
    num_loads: int = 0
    num_failures: int = 0
    retry_at: float = 0.0
    loading: asyncio.Task[None] | None = None

    @property
    def key(self) -> str:
        """Give ``name@version``, or the stem of a file that has neither."""
        return self.candidate.key

    @property
    def name(self) -> str:
        """Give the model's name."""
        return self.candidate.name

    @property
    def version(self) -> str:
        """Give the model's version, or nothing of a file that has none."""
        return self.key.partition("@")[2]

    @property
    def must_stay(self) -> bool:
        """Whether it may not be taken out for others: it is pinned, or its file is no longer the one it came from."""
        return self.is_pinned or self.is_handing_over or self.rejected is not None

    @property
    def is_usable(self) -> bool:
        """Whether a request for it has a chance: it is in memory, or can be brought there."""
        can_come = self.state in {State.UNLOADED, State.LOADING}
        is_at_hand = can_come and self.problem is None and not self.is_withheld
        return self.state is State.READY or is_at_hand

    @property
    def can_answer_now(self) -> bool:
        """Whether a request for it need not wait for a load that is going on anyway."""
        return self.is_usable and not self.is_coming

    @property
    def age(self) -> tuple[tuple[int, int, str], ...]:
        """Order the versions of a model as people do: 2 before 10, and 1.2 before 1.10."""
        parts = re.findall(r"\d+|[^\d.]+", self.version)
        return tuple((1, int(part), "") if part.isdecimal() else (0, 0, part) for part in parts)
