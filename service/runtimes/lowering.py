"""Run a network in fewer bits than float32, and find out whether its masks stay as they are.

Letters: B images, C classes, h and w size of the network input.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import replace
from functools import partial

import torch
from PIL import Image
from torch import Tensor, nn

from model_zoo.card import SelfTest
from model_zoo.predict import forward
from model_zoo.preprocess import NetworkInput, network_input
from model_zoo.selftest import SIZE, generated_image
from model_zoo.spec import ModelSpec, Prediction

FindLogits = Callable[[Sequence[NetworkInput]], Tensor]
"""Map images of one shape to logits, float32 ``[B, C, h, w]``."""

LEAST_AGREEMENT = 0.995
"""The share of the self-test's pixels that has to keep its class."""

_DOUBT = 0.1
"""Two classes are as good as each other when their scores differ by less than this share of the scores' deviation.

Without it the test, which looks at every score and not at the mask alone, would be far harder than masks of photos
are: bfloat16 changes 4 % of what the shipped network sees in generated images, and 0.5 % of its masks of photos.
With it the two shares are alike, over networks that differ from float32 by less and by more.
"""

_NUM_IMAGES = 4


class LoweredNetwork(nn.Module):
    """Take in and give out float32, and compute in between with what ``lowered`` made."""

    def __init__(self, network: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.network = network
        self.dtype = dtype

    def forward(self, images: Tensor) -> Prediction:
        """Map images ``[B, 3, h, w]`` to what the network makes of them, both float32."""
        prediction: Prediction = self.network(images.to(self.dtype))
        return replace(prediction, scores=prediction.scores.float())


def lowered(network: nn.Module, dtype: torch.dtype) -> LoweredNetwork:
    """Give a copy of a network, in eval mode, that computes in ``dtype``.

    Batch norms keep their float32 numbers: they take in and give out any precision, and it costs no time.
    """
    in_place_of: dict[int, object] = {}  # so that no full copy is ever in memory
    for module in network.modules():
        if not isinstance(module, nn.BatchNorm2d):
            for tensor in (*module.parameters(recurse=False), *module.buffers(recurse=False)):
                in_place_of[id(tensor)] = _lowered_tensor(tensor, dtype)
    return LoweredNetwork(deepcopy(network, in_place_of), dtype).eval()


def objection(network: nn.Module, lower: LoweredNetwork, spec: ModelSpec) -> str | None:
    """Say in public words why a lowered network cannot stand for the one it was made from, if it cannot."""
    return objection_to(partial(forward, lower, spec=spec), partial(forward, network, spec=spec), spec)


def objection_to(lower: FindLogits, plain: FindLogits, spec: ModelSpec) -> str | None:
    """Say the same of any way to find logits in fewer bits, and the way that finds them in float32."""
    images = _self_test_images(spec)
    expected = plain(images)
    try:
        found = lower(images)
    except torch.OutOfMemoryError:
        raise
    except RuntimeError:  # libraries do not have every operation in every precision
        return "the network cannot run in it on this device"
    if not torch.isfinite(found).all():
        return "it gives numbers that are not finite"
    share = agreement(expected, found)
    if share < LEAST_AGREEMENT:
        return f"masks agree with float32 on {share:.2%} of the self-test's pixels, {LEAST_AGREEMENT:.1%} are needed"
    return None


def agreement(expected: Tensor, found: Tensor) -> float:
    """Give the share of pixels where ``found`` has the class of ``expected``, or one that is as good there.

    As in the self-test, a pixel must agree also in which class is highest above its own mean: the mask of a network
    that sees nothing but background in generated images would say little. Both are ``[B, C, h, w]`` float32.
    """
    expected_above, found_above = _above_mean(expected), _above_mean(found)
    doubt = _DOUBT * expected_above.std()
    agrees = (_loss(expected, found) <= doubt) & (_loss(expected_above, found_above) <= doubt)
    return agrees.double().mean().item()


def _lowered_tensor(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    small = tensor.detach().to(dtype) if tensor.is_floating_point() else tensor.detach().clone()
    return nn.Parameter(small, requires_grad=False) if isinstance(tensor, nn.Parameter) else small


def _self_test_images(spec: ModelSpec) -> list[NetworkInput]:
    height, width = SIZE
    tests = [SelfTest(seed=seed, height=height, width=width, histogram=()) for seed in range(_NUM_IMAGES)]
    return [network_input(Image.fromarray(generated_image(test)), spec) for test in tests]


def _above_mean(scores: Tensor) -> Tensor:
    return scores - scores.mean(dim=(2, 3), keepdim=True)


def _loss(expected: Tensor, found: Tensor) -> Tensor:
    """Give by how much the class that ``found`` chooses scores lower than the best, both in ``expected``."""
    chosen = expected.gather(1, found.argmax(dim=1, keepdim=True))  # [B, 1, h, w]
    return (expected.amax(dim=1, keepdim=True) - chosen).squeeze(1)  # [B, h, w]
