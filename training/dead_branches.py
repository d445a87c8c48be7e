"""Notice layers that no gradient reaches, as after two layers that both begin at zero: they would never learn."""

from __future__ import annotations

from torch import nn

WATCHED_STEPS = 10
"""A layer behind scores that begin at zero has no gradient in the first step, and has one in the second."""


class DeadBranches:
    """Watch the gradients of the first steps of a run."""

    def __init__(self, network: nn.Module, *, first_step: int = 0) -> None:
        self._silent = {name: weight for name, weight in network.named_parameters() if weight.requires_grad}
        self._steps_left = max(0, WATCHED_STEPS - first_step)

    def update(self) -> list[str]:
        """Look at the gradients of a step; after the last watched one, name the layers that never had any.

        A layer is named by its module, such as ``fusions.1.score``.
        """
        if not self._steps_left:
            return []
        self._steps_left -= 1
        self._silent = {
            name: weight for name, weight in self._silent.items() if weight.grad is None or not weight.grad.any()
        }
        if self._steps_left:
            return []
        return sorted({name.rpartition(".")[0] or name for name in self._silent})
