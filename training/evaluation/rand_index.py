"""Score a segmentation by its objects: which pixels it joins that belong apart, and which it parts.

The foreground-restricted Rand score after border thinning of Arganda-Carreras et al. 2015, "Crowdsourcing the creation
of image segmentation algorithms for connectomics", https://doi.org/10.3389/fnana.2015.00142, which ranks ISBI 2012.

Letters: H and W height and width.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Objects = NDArray[np.int32]
"""The number of the object that each pixel belongs to, ``[H, W]``; 0 is of none."""


@dataclass(frozen=True, slots=True)
class RandScore:
    """Hold how seldom pixels of two objects are joined, how seldom one object is parted, and the score of both."""

    merge: float
    split: float
    both: float


def rand_score(truth: NDArray[np.bool_], found: NDArray[np.bool_]) -> RandScore:
    """Compare where objects are and where they were found to be, both ``[H, W]``; 1 is perfect.

    Borders that were found count as one pixel thin, however wide they are; pixels of the true borders do not count.

    Raises:
        ValueError: there is no true object.
    """
    return rand_of(number_objects(truth), thin_borders(number_objects(found)))


def number_objects(inside: NDArray[np.bool_]) -> Objects:
    """Number the connected parts of ``[H, W]`` from 1 on; pixels that touch at a corner alone are apart."""
    numbered: Objects = ndimage.label(inside)[0]
    return numbered


def thin_borders(objects: Objects) -> Objects:
    """Give each pixel of the border to the nearest object, so that what parts two objects is thinner than a pixel.

    The challenge's program thins borders to one pixel, and opens those that end blindly, by a skeleton; here each
    pixel is in some object. The two differ by that line alone, where a border ends blindly or not at all.
    """
    if not objects.any():
        return objects
    nearest = ndimage.distance_transform_edt(objects == 0, return_distances=False, return_indices=True)
    grown: Objects = objects[tuple(nearest)]
    return grown


def rand_of(truth: Objects, found: Objects) -> RandScore:
    """Compare two numberings over the pixels of true objects; 0 in ``found`` is an object like any other.

    With p_ij the share of the pixels in true object i and found object j, ``merge`` is the sum of p_ij^2 over that of
    (the sum over i)^2, ``split`` over that of (the sum over j)^2, and ``both`` their harmonic mean.

    Raises:
        ValueError: there is no true object.
    """
    inside = truth > 0
    if not inside.any():
        raise ValueError("there is no true object to compare with")
    pairs, counts = np.unique(np.stack([truth[inside], found[inside]]), axis=1, return_counts=True)
    squares = float(np.square(counts, dtype=np.float64).sum())
    of_truth, of_found = (_sum_of_squares(numbers, counts) for numbers in pairs)
    return RandScore(merge=squares / of_found, split=squares / of_truth, both=2 * squares / (of_truth + of_found))


def _sum_of_squares(numbers: NDArray[np.int32], counts: NDArray[np.int64]) -> float:
    """Give the sum of the squared sizes of all objects, from the sizes of their parts."""
    return float(np.square(np.bincount(numbers, weights=counts)).sum())
