"""Make masks for the tests of every format."""

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from model_zoo.labels import voc_palette
from service.masks.encoder import LabelledMask, Mask

NUM_CLASSES = 5
NAMES = ("background", "dog", "cat", "über/große <Katze>", "bus")
SURENESS = 0.25

_SHAPES = array_shapes(min_dims=2, max_dims=2, max_side=30)
MASKS = arrays(np.uint8, _SHAPES, elements=st.sampled_from([0, 1, 2, 3, 4, 255])) | arrays(
    np.uint8, _SHAPES, elements=st.sampled_from([0, 0, 0, 0, 0, 0, 4])
)


def labelled(mask: Mask, **more: object) -> LabelledMask:
    """Give a mask with names; each of its pixels has the probability ``SURENESS``."""
    sums = np.bincount(mask.ravel(), minlength=NUM_CLASSES)[:NUM_CLASSES] * SURENESS
    return LabelledMask(mask, "voc", "2", NAMES, voc_palette(NUM_CLASSES), sums.tolist(), **more)  # type: ignore[arg-type]  # as the test says


def present(mask: Mask, *, drawn: bool = False) -> list[int]:
    """Give the classes that occur, or those of them that tools draw."""
    return [label for label in np.unique(mask).tolist() if label != 255 and not (drawn and label == 0)]
