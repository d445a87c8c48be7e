"""Compare what a graph gives in ONNX Runtime with what its network gives in torch, at several sizes.

Letters: B batch, K channels of the image, C classes, H and W height and width.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import onnxruntime  # type: ignore[import-untyped]  # it has no stubs
import torch
from torch import Tensor, nn

from model_zoo.card import SelfTest
from model_zoo.onnx_graph import INPUT
from model_zoo.preprocess import normalise
from model_zoo.selftest import generated_image
from model_zoo.spec import ModelSpec
from training.errors import InvalidExport

SIZES = ((1, 33, 47), (2, 64, 96), (1, 203, 270))
"""Batch, height and width: small and odd, a multiple of 32, and larger and not square."""

TOLERANCE = 1e-4
"""The largest difference of logits, as a share of the largest logit.

Rounding in another order gives 1e-6 to 1e-5. A border that is padded wrongly, the smallest of the mistakes that have
been seen, gives more than 1e-2.
"""

ERRORS_ONLY = 3


@dataclass(frozen=True, slots=True)
class Parity:
    """Say how far two runtimes are apart over a batch ``[B, K, H, W]``.

    ``max_difference`` and ``largest_logit`` are absolute values of logits; ``equal_pixels`` is the share of pixels with
    the same class in both masks.
    """

    batch: int
    height: int
    width: int
    max_difference: float
    largest_logit: float
    equal_pixels: float

    @property
    def is_close(self) -> bool:
        """Whether the difference is one of rounding."""
        return self.max_difference <= TOLERANCE * self.largest_logit


def compare(model: bytes, network: nn.Module, spec: ModelSpec) -> list[Parity]:
    """Run a graph with the outputs ``logits`` and ``mask``, and the network that it was made of, on the same images.

    Raises:
        InvalidExport: ONNX Runtime cannot run the graph, the two are further apart than rounding explains, or the
            network's own logits are NaN or infinite.
    """
    with _explaining():
        session = open_session(model)
    found = [_measure(session, network, spec, made_images(size, spec)) for size in SIZES]
    for one in found:
        if not one.is_close:
            raise InvalidExport(
                f"images of {one.height}x{one.width} px: the graph's logits are {one.max_difference:.2g} from torch's, "
                f"at most {TOLERANCE * one.largest_logit:.2g} would be rounding"
            )
    return found


def open_session(model: bytes) -> onnxruntime.InferenceSession:
    """Make a graph ready to run on the CPU, on as many threads as torch has."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = ERRORS_ONLY
    options.intra_op_num_threads = torch.get_num_threads()
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def made_images(size: tuple[int, int, int], spec: ModelSpec) -> Tensor:
    """Make images of coloured blocks with soft borders, uint8 ``[B, K, H, W]``."""
    batch, height, width = size
    tests = [SelfTest(seed=seed, height=height, width=width, histogram=()) for seed in range(batch)]
    images = np.stack([generated_image(test) for test in tests])  # [B, H, W, 3]
    return torch.from_numpy(images).permute(0, 3, 1, 2)[:, : len(spec.input.mean)].contiguous()


def _measure(session: onnxruntime.InferenceSession, network: nn.Module, spec: ModelSpec, images: Tensor) -> Parity:
    with torch.inference_mode():
        wanted = network(normalise(images, spec.input)).logits  # [B, C, H, W]
    if not wanted.isfinite().all():
        height, width = images.shape[-2:]
        raise InvalidExport(
            f"images of {height}x{width} px: the network's own logits are not finite; its weights cannot be used"
        )
    with _explaining():
        logits, mask = session.run(["logits", "mask"], {INPUT: images.numpy()})
    if logits.shape != tuple(wanted.shape):
        raise InvalidExport(f"the graph gives logits of shape {list(logits.shape)}, torch {list(wanted.shape)}")
    return Parity(
        batch=len(images),
        height=images.shape[2],
        width=images.shape[3],
        max_difference=float((torch.from_numpy(logits) - wanted).abs().max()),
        largest_logit=float(wanted.abs().max()),
        equal_pixels=float((torch.from_numpy(mask) == wanted.argmax(dim=1)).double().mean()),
    )


@contextmanager
def _explaining() -> Iterator[None]:
    """Say in one line what ONNX Runtime cannot do."""
    try:
        yield
    except Exception as error:  # its errors have no ancestor of their own; who exports hears of them
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise InvalidExport(f"ONNX Runtime {onnxruntime.__version__} cannot run the graph: {reason}") from error
