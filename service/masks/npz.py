"""Write the probabilities of all classes, for those who average, calibrate or draw on."""

from __future__ import annotations

from io import BytesIO

import numpy as np

from service.masks.encoder import LabelledMask


def encode_npz(labelled: LabelledMask) -> bytes:
    """Write ``probabilities``, float16 ``[C, H, W]``, ``mask``, uint8 ``[H, W]``, and the names of the ``classes``."""
    assert labelled.probabilities is not None
    output = BytesIO()
    np.savez(
        output, probabilities=labelled.probabilities, mask=labelled.mask, classes=np.array(labelled.classes, dtype=str)
    )
    return output.getvalue()
