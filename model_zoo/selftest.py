"""Ask a network for a known answer: a generated image, and the histogram that it must give.

Counted is where each class scores highest above its own mean over the image. The mask itself would say little: a
network trained on photos finds nothing but background in generated blocks, and so would a broken one.
"""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch import nn

from model_zoo.card import SelfTest
from model_zoo.container import BadCheckpoint
from model_zoo.predict import forward
from model_zoo.preprocess import network_input
from model_zoo.spec import ModelSpec

SIZE = (96, 128)
"""Height and width of the generated images."""

TOLERANCE = 0.01
"""The share of pixels that may change class between machines: rounding differs, a wrong network differs by far more."""

MAX_SIDE = 1024
"""The largest side to which an image is enlarged for the test, though a spec may ask for 8192."""


def make_self_test(network: nn.Module, spec: ModelSpec) -> SelfTest:
    """Choose, among a few generated images, the one whose histogram is the most even, and record it.

    Raises:
        BadCheckpoint: the network answers with NaN or infinity.
    """
    height, width = SIZE
    blank = SelfTest(seed=0, height=height, width=width, histogram=())
    tests = [blank.model_copy(update={"seed": seed}) for seed in range(8)]
    histograms = [_histogram(network, spec, test) for test in tests]
    best = max(range(len(tests)), key=lambda index: -max(histograms[index]))
    return tests[best].model_copy(update={"histogram": histograms[best]})


def changed_pixels(network: nn.Module, spec: ModelSpec, test: SelfTest) -> int:
    """Count the pixels by which the histogram differs from the recorded one; 0 when they agree.

    Raises:
        BadCheckpoint: the network answers with NaN or infinity.
    """
    found = _histogram(network, spec, test)
    return sum(abs(now - then) for now, then in zip(found, test.histogram, strict=True)) // 2


def generated_image(test: SelfTest) -> np.ndarray[tuple[int, int, int], np.dtype[np.uint8]]:
    """Make the test's image, uint8 ``[height, width, 3]``: coloured blocks of 16 pixels, blended at their borders.

    The colours come from integer arithmetic alone, so that they are the same everywhere and for ever.
    """
    rows, columns = -(-test.height // 16), -(-test.width // 16)
    index = np.arange(rows * columns * 3, dtype=np.uint64) + np.uint64(1 + 100_003 * test.seed)
    blocks = ((index * np.uint64(2_654_435_761) >> np.uint64(13)) & np.uint64(255)).astype(np.uint8)
    image = Image.fromarray(blocks.reshape(rows, columns, 3))
    return np.asarray(image.resize((test.width, test.height), Image.Resampling.BILINEAR))


def _histogram(network: nn.Module, spec: ModelSpec, test: SelfTest) -> tuple[int, ...]:
    image = Image.fromarray(generated_image(test))
    size = spec.size.model_copy(update={"side": min(spec.size.side, MAX_SIDE)})
    seen = network_input(image, spec.model_copy(update={"size": size}))
    logits = forward(network, [seen], spec)[0].float()  # [C, H, W]
    if not logits.isfinite().all():  # argmax would count them all the same
        raise BadCheckpoint(f"self-test failed, {spec.architecture} answers an image with scores that are not finite")
    above_mean = logits - logits.mean(dim=(1, 2), keepdim=True)
    return tuple(torch.bincount(above_mean.argmax(dim=0).flatten(), minlength=spec.num_classes).tolist())
