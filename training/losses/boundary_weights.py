"""Weigh each pixel of a target: rare classes more, and the ground between two near objects most.

Ronneberger, Fischer, Brox 2015, "U-Net: Convolutional Networks for Biomedical Image Segmentation", equation 2,
https://arxiv.org/abs/1505.04597.

Letters: H and W height and width.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from model_zoo.labels import IGNORE_INDEX
from training.datasets.sample import Target

Distances: TypeAlias = NDArray[np.float32]
Box: TypeAlias = tuple[slice, slice]

REACH = 4
"""How many sigma an object is felt: what is left out is below ``w0 * exp(-8)``, 0.003 at the paper's ``w0``."""


def boundary_weights(
    target: Target, *, ground: int = 0, w0: float = 10, sigma: float = 5, class_weights: Sequence[float] | None = None
) -> Distances:
    """Give ``w_c + w0 * exp(-(d1 + d2)**2 / (2 * sigma**2))`` for ``target`` ``[H, W]``, float32; 0 where unlabelled.

    d1 and d2 are the distances to the nearest and to the second nearest object, in pixels. The second term is added on
    the ground alone, as in the authors' own tool: it is ground that holds two objects apart.

    Args:
        target: uint8 ``[H, W]``, 255 where unlabelled.
        ground: the class between the objects; an object is a connected part of any other class.
        w0: the weight between two objects that touch.
        sigma: how far it reaches, in pixels.
        class_weights: w_c, one a class. Without them those of this target are taken: one by the number of a class's
            pixels, such that their mean over the labelled pixels is 1.
    """
    weights = _class_weights(target) if class_weights is None else _given(class_weights)
    gap = _gap(target, ground, reach=math.ceil(REACH * sigma))
    gained: Distances = w0 * np.exp(-(gap**2) / (2 * sigma**2))
    return weights[target] + np.where(target == ground, gained, np.float32(0))


def _class_weights(target: Target) -> Distances:
    counts = np.bincount(target.ravel(), minlength=IGNORE_INDEX + 1)
    counts[IGNORE_INDEX] = 0
    present = counts > 0
    weights = np.zeros(IGNORE_INDEX + 1, np.float32)
    weights[present] = counts.sum() / (np.count_nonzero(present) * counts[present])
    return weights


def _given(class_weights: Sequence[float]) -> Distances:
    weights = np.zeros(IGNORE_INDEX + 1, np.float32)
    weights[: len(class_weights)] = class_weights
    return weights


def _gap(target: Target, ground: int, *, reach: int) -> Distances:
    """Give the distances to the nearest two objects, added; infinite where fewer than two are within ``reach``."""
    nearest: Distances = np.full(target.shape, np.inf, np.float32)
    second = nearest.copy()
    for box, objects, index in _objects(target, ground, reach):
        distance = ndimage.distance_transform_edt(objects != index)
        second[box] = np.minimum(second[box], np.maximum(nearest[box], distance))
        nearest[box] = np.minimum(nearest[box], distance)
    return nearest + second


def _objects(target: Target, ground: int, margin: int) -> Iterator[tuple[Box, NDArray[np.int32], int]]:
    """Give each object: the box around it, the numbered objects of its class in the box, and its number."""
    for label in np.setdiff1d(target, [ground, IGNORE_INDEX]):
        objects = ndimage.label(target == label)[0]
        for index, (rows, columns) in enumerate(ndimage.find_objects(objects), start=1):
            # most objects are small: transforming the whole target for each would take a hundred times longer
            box = _grown(rows, margin), _grown(columns, margin)
            yield box, objects[box], index


def _grown(side: slice, margin: int) -> slice:
    return slice(max(0, side.start - margin), side.stop + margin)
