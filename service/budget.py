"""Keep account of the models in memory: how much there is room for, and who has to go for whom."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence

import torch

from service.catalog import Candidate
from service.models import Model
from service.segmenter import Footprint, Segmenter
from service.settings import Settings

_BYTES_OF_FLOAT32 = 4
_SHARE_OF_GPU = 0.9


class Budget:
    """Hold the models in memory against what they may take of each device together.

    Weights add up; of what passes take only the largest counts, for a device runs one at a time.
    """

    def __init__(self, limit_bytes: int | None, *, min_residence: float) -> None:
        self.limit_bytes = limit_bytes
        self.in_memory: dict[Segmenter, Model] = {}
        self._min_residence = min_residence

    def lacking(self, need: Footprint) -> int:
        """Give the bytes that there would be over the limit with one model more; 0 or less if there is room."""
        if self.limit_bytes is None:
            return 0
        return _total([*(segmenter.footprint for segmenter in self.in_memory), need]) - self.limit_bytes

    def could_hold(self, need: Footprint, keep: Model) -> bool:
        """Tell whether there would be room if everybody went who may go."""
        staying = [
            segmenter.footprint for segmenter, model in self.in_memory.items() if model is keep or model.must_stay
        ]
        return self.limit_bytes is None or _total([*staying, need]) <= self.limit_bytes

    def next_victim(self, keep: Model) -> Model | None:
        """Choose who goes: past its minimum residence, if any is, then not in use, then unused for longest."""
        able = [
            (max(0.0, self.rest(segmenter)), segmenter.is_in_use, segmenter.last_used, index, model)
            for index, (segmenter, model) in enumerate(self.in_memory.items())
            if model.segmenter is segmenter and model is not keep and not model.must_stay
        ]
        return min(able)[-1] if able else None

    def rest(self, segmenter: Segmenter) -> float:
        """Give the seconds that a model has still to stay; 0 or less if it may go."""
        return segmenter.loaded_at + self._min_residence - time.monotonic()

    def idle(self, limit: float) -> list[Model]:
        """List the models that nobody has used for so many seconds, but for those that stay in any case."""
        now = time.monotonic()
        return [
            model
            for segmenter, model in self.in_memory.items()
            if model.segmenter is segmenter and not model.must_stay
            if not segmenter.is_in_use and now - segmenter.last_used >= limit
        ]

    def tell_lack(self, need: Footprint, keep: Model) -> str:
        """Say in public words why there is no room."""
        others = [model.key for model in self.in_memory.values() if model is not keep]
        told = f"model {keep.key} needs {_total([need])} bytes, {self.lacking(need)} more than"
        told += f" memory_budget_bytes={self.limit_bytes} leaves"
        return told + (f" beside {', '.join(others)}" if others else "")


def choose_limit(settings: Settings, devices: Iterable[torch.device]) -> int | None:
    """Give the limit that was set; or else most of the smallest GPU, and no limit on a CPU."""
    if settings.memory_budget_bytes is not None:
        return settings.memory_budget_bytes
    totals = [torch.cuda.get_device_properties(device).total_memory for device in devices if device.type == "cuda"]
    return int(_SHARE_OF_GPU * min(totals)) if totals else None


def estimate(candidate: Candidate) -> Footprint:
    """Guess what a model takes that was never loaded: its weights are known, its passes are not."""
    num_parameters = 0 if candidate.inspection is None else candidate.inspection.num_parameters
    return Footprint(num_parameters * _BYTES_OF_FLOAT32, 0)


def _total(footprints: Sequence[Footprint]) -> int:
    weights = sum(footprint.weights_bytes for footprint in footprints)
    return weights + max((footprint.peak_bytes for footprint in footprints), default=0)
