"""Say what can be wanted of the pixels of an image, and hold what was found.

Letters: C classes, H and W size of the mask.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, slots=True)
class Wanted:
    """Say what is wanted of an image beside a plain mask; by default, nothing.

    Probabilities are those of softmax. A pixel whose class has less than ``threshold`` becomes ``IGNORE_INDEX`` in the
    mask, and counts for no class. With ``flip`` they are the mean over the image and the mirrored image, which takes
    the network twice as long.
    """

    sums: bool = False
    confidence: bool = False
    probabilities: bool = False
    threshold: float = 0.0
    flip: bool = False

    @property
    def is_plain(self) -> bool:
        """Whether the mask can be found without any probability."""
        return not (self.sums or self.confidence or self.probabilities or self.threshold)


PLAIN = Wanted()
"""Nothing but the mask."""


@dataclass(frozen=True, slots=True)
class Segmentation:
    """Hold the mask of one image, uint8 ``[H, W]``, and what else was wanted of it.

    ``probability_sums`` is float64 ``[C]``: the sum over each class's pixels of the probability of that class, all zero
    if nobody wanted it. ``confidence`` is uint8 ``[H, W]``, 255 times the probability of the most probable class;
    ``probabilities`` is float16 ``[C, H, W]``.
    """

    mask: Tensor
    probability_sums: Tensor
    confidence: Tensor | None = None
    probabilities: Tensor | None = None

    def cpu(self) -> Segmentation:
        """Give the same on the CPU."""
        return Segmentation(
            self.mask.cpu(),
            self.probability_sums.cpu(),
            None if self.confidence is None else self.confidence.cpu(),
            None if self.probabilities is None else self.probabilities.cpu(),
        )
