"""Say how an image is to be looked at, and which part of its mask is to be shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from PIL import Image

from model_zoo.card import CheckpointHeader
from model_zoo.labels import IGNORE_INDEX
from model_zoo.preprocess import NetworkInput, network_input
from model_zoo.segmentation import Segmentation, Wanted
from model_zoo.spec import ModelSpec
from service.errors import InvalidRequest
from service.masks.encoder import Encoder, LabelledMask, Mask, Target
from service.masks.regions import find_regions


@dataclass(frozen=True, slots=True)
class View:
    """Hold what a client asks of a mask beside its format.

    Pixels become void whose class is less probable than ``threshold`` or not among ``classes``, where any are named,
    and those of connected regions of fewer than ``min_area`` pixels. With ``at_network_size`` the mask has the size at
    which the network sees the image; with ``flip`` the network sees the mirrored image, too. ``target`` is for
    labelling tools.
    """

    classes: Sequence[str] = ()
    min_area: int = 0
    threshold: float = 0.0
    flip: bool = False
    at_network_size: bool = False
    target: Target = field(default_factory=Target)

    def wanted(self, encoder: Encoder) -> Wanted:
        """Say what is to be found of the pixels, for an encoder."""
        needs_each = self.min_area > 1 and encoder.wanted.sums  # the sums over what is left
        confidence = encoder.wanted.confidence or needs_each
        return replace(encoder.wanted, confidence=confidence, threshold=self.threshold, flip=self.flip)

    def class_ids(self, known: Sequence[str]) -> frozenset[int]:
        """Give the ids of the classes that are named.

        Raises:
            InvalidRequest: a model does not know one of them.
        """
        for name in self.classes:
            if name not in known:
                raise InvalidRequest(f"unknown class {name[:50]!r}, this model knows {', '.join(known)}")
        return frozenset(known.index(name) for name in self.classes)

    def prepare(self, image: Image.Image, spec: ModelSpec) -> NetworkInput:
        """Give what the network takes in of an upright RGB image."""
        item = network_input(image, spec)
        return replace(item, size=item.content) if self.at_network_size else item

    def label(
        self, segmentation: Segmentation, header: CheckpointHeader, *, image: Image.Image | None = None
    ) -> LabelledMask:
        """Put a segmentation together with what its values mean, and show of it what is asked for."""
        classes = header.spec.classes
        asked = self.class_ids(classes)
        mask: Mask = segmentation.mask.numpy()
        confidence = None if segmentation.confidence is None else segmentation.confidence.numpy()
        sums = segmentation.probability_sums.numpy()
        if asked:
            kept = np.full(IGNORE_INDEX + 1, IGNORE_INDEX, np.uint8)
            kept[list(asked)] = list(asked)
            mask = kept[mask]
        if self.min_area > 1:
            mask = find_regions(mask).without_small(self.min_area, void=IGNORE_INDEX)
            if confidence is not None:
                sums = np.bincount(mask.ravel(), confidence.ravel(), IGNORE_INDEX + 1)[: len(classes)] / 255
        return LabelledMask(
            mask=mask,
            model=header.name,
            version=header.version,
            classes=classes,
            palette=header.spec.palette,
            probability_sums=sums.tolist(),
            asked=asked,
            confidence=confidence,
            probabilities=None if segmentation.probabilities is None else segmentation.probabilities.numpy(),
            image=image if image is None or image.size == mask.shape[::-1] else image.resize(mask.shape[::-1]),
            target=self.target,
        )
