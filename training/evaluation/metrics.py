"""Count which class was taken for which, once over a whole set, and derive every score from that one matrix.

Letters: C classes, H and W height and width, N images, D draws.
"""

from __future__ import annotations

import torch
from torch import Tensor

from model_zoo.labels import IGNORE_INDEX


class ConfusionMatrix:
    """Hold how many pixels of each class (row) were given each class (column), int64 ``[C, C]``.

    A class of which the set has no pixel scores NaN and is left out of every mean. ``unlabelled`` counts what was
    given to pixels without a label, int64 ``[C]``; only ``legacy_fg_iou`` looks at it.
    """

    def __init__(self, num_classes: int) -> None:
        self.counts = torch.zeros(num_classes, num_classes, dtype=torch.int64)
        self.unlabelled = torch.zeros(num_classes, dtype=torch.int64)

    def update(self, target: Tensor, mask: Tensor) -> None:
        """Count the labelled pixels of one image or more.

        Args:
            target: integer ``[H, W]`` or ``[B, H, W]``, 255 where unlabelled.
            mask: integer, of the same shape.

        Raises:
            ValueError: the shapes differ, or a class is outside the table.
        """
        if target.shape != mask.shape:
            raise ValueError(f"target is {list(target.shape)}, mask is {list(mask.shape)}")
        num_classes = len(self.counts)
        labelled = target != IGNORE_INDEX
        true, found, beside = target[labelled].long(), mask[labelled].long(), mask[~labelled].long()
        for name, values in (("target", true), ("mask", found), ("mask", beside)):
            low, high = (int(bound) for bound in torch.aminmax(values)) if values.numel() else (0, 0)
            if low < 0 or high >= num_classes:
                raise ValueError(f"{name} has class {low if low < 0 else high}, classes are 0 to {num_classes - 1}")
        pairs = torch.bincount(num_classes * true + found, minlength=num_classes**2)
        self.counts += pairs.view(num_classes, num_classes).to(self.counts.device)
        self.unlabelled += torch.bincount(beside, minlength=num_classes).to(self.unlabelled.device)

    def add(self, other: ConfusionMatrix) -> None:
        """Count what another matrix has counted."""
        self.counts += other.counts
        self.unlabelled += other.unlabelled

    @property
    def iou(self) -> Tensor:
        """Give the intersection over union of each class, float64 ``[C]``."""
        hits = self.counts.diagonal().double()
        union = (self.counts.sum(0) + self.counts.sum(1)).double() - hits
        return torch.where(self._is_present, hits / union, torch.nan)

    @property
    def accuracy(self) -> Tensor:
        """Give the share of each class's pixels that were found, float64 ``[C]``."""
        return torch.where(self._is_present, self.counts.diagonal() / self.counts.sum(1).double(), torch.nan)

    @property
    def dice(self) -> Tensor:
        """Give twice the intersection over the sum of both areas, of each class, float64 ``[C]``."""
        areas = (self.counts.sum(0) + self.counts.sum(1)).double()
        return torch.where(self._is_present, 2 * self.counts.diagonal() / areas, torch.nan)

    @property
    def mean_iou(self) -> float:
        """Give the mean of ``iou``."""
        return float(self.iou.nanmean())

    @property
    def mean_accuracy(self) -> float:
        """Give the mean of ``accuracy``."""
        return float(self.accuracy.nanmean())

    @property
    def pixel_accuracy(self) -> float:
        """Give the share of all labelled pixels that have their own class; NaN where there are none."""
        return float(self.counts.diagonal().sum().double() / self.counts.sum())

    @property
    def frequency_weighted_iou(self) -> float:
        """Give the mean of ``iou``, each class weighted with its share of the pixels; NaN where there are none."""
        frequency = self.counts.sum(1).double() / self.counts.sum()
        return float((frequency * self.iou).nansum()) if self._is_present.any() else float("nan")

    @property
    def mean_dice(self) -> float:
        """Give the mean of ``dice``."""
        return float(self.dice.nanmean())

    @property
    def legacy_fg_iou(self) -> float:
        """Give the overlap of all foreground at once: a well-known FCN re-implementation's "IoU", for comparison.

        Class 0 and what has no label are background there. Pixels of the right class count as intersection, pixels
        that are foreground in target or mask as union; NaN where there are none.
        """
        hits = self.counts.diagonal()[1:].sum().double()
        return float(hits / (self.counts.sum() - self.counts[0, 0] + self.unlabelled[1:].sum()))

    @property
    def _is_present(self) -> Tensor:
        return self.counts.sum(1) > 0


class Bootstrap:
    """Say how far mIoU depends on which images the set happens to have, by drawing sets of its images again.

    Efron 1979, "Bootstrap methods: another look at the jackknife". Of each image's matrix it keeps the sums that IoU
    needs.
    """

    def __init__(self, *, seed: int = 0, draws: int = 1000) -> None:
        self._seed = seed
        self._draws = draws
        self._images: list[Tensor] = []

    def update(self, matrix: ConfusionMatrix) -> None:
        """Take the matrix of one image."""
        counts = matrix.counts
        self._images.append(torch.stack([counts.diagonal(), counts.sum(0), counts.sum(1)]))  # [3, C]

    def interval(self, share: float = 0.95) -> tuple[float, float]:
        """Give the bounds that hold ``share`` of the draws' mIoU, a class absent from a draw left out; NaN of none."""
        if not self._images:
            return float("nan"), float("nan")
        images = torch.stack(self._images).double()  # [N, 3, C]
        generator = torch.Generator().manual_seed(self._seed)
        drawn = torch.randint(len(images), (self._draws, len(images)), generator=generator)
        times = torch.zeros(drawn.shape, dtype=torch.float64).scatter_add_(
            1, drawn, torch.ones_like(drawn, dtype=torch.float64)
        )  # [D, N]
        hits, found, true = torch.einsum("dn,nkc->kdc", times, images)  # each [D, C]
        scores = torch.where(true > 0, hits / (found + true - hits), torch.nan).nanmean(1)
        low, high = scores.nanquantile(torch.tensor([(1 - share) / 2, (1 + share) / 2], dtype=torch.float64))
        return float(low), float(high)
