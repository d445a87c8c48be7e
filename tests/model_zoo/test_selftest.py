import numpy as np
import pytest
import torch
from torch import Tensor, nn

from model_zoo.architectures import build
from model_zoo.card import SelfTest
from model_zoo.container import BadCheckpoint
from model_zoo.selftest import TOLERANCE, changed_pixels, generated_image, make_self_test
from model_zoo.spec import InputRule, ModelSpec, Prediction, SizeRule

SPEC = ModelSpec(
    architecture="unet", arguments={"base_channels": 4}, classes=("a", "b"), palette=((0, 0, 0), (9, 9, 9))
)


class Viewer(nn.Module):
    """Score two classes by colour, and keep the heights of the images that it saw."""

    def __init__(self) -> None:
        super().__init__()
        self.score = nn.Conv2d(3, 2, 1)
        self.heights: list[int] = []

    def forward(self, images: Tensor) -> Prediction:
        self.heights.append(images.shape[2])
        return Prediction(self.score(images))


def network(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return build(SPEC.architecture, SPEC.num_classes, SPEC.arguments).eval()


def test_the_generated_image_is_the_same_for_ever() -> None:
    image = generated_image(SelfTest(seed=1, height=96, width=128, histogram=()))

    assert image.shape == (96, 128, 3)
    assert image.dtype == np.uint8
    assert [image[y, x].tolist() for y, x in ((8, 8), (8, 24), (88, 120))] == [
        [107, 47, 219],
        [159, 99, 30],
        [221, 152, 84],
    ]


def test_a_network_passes_its_own_test() -> None:
    test = make_self_test(network(0), SPEC)

    assert sum(test.histogram) == 96 * 128
    assert changed_pixels(network(0), SPEC, test) == 0


@pytest.mark.parametrize(("side", "height"), [(520, 520), (8192, 1024)])
def test_a_network_is_never_tested_on_larger_images_than_a_machine_can_hold(side: int, height: int) -> None:
    spec = SPEC.model_copy(update={"size": SizeRule(policy="shortest", side=side, multiple=1)})
    viewer = Viewer()

    changed_pixels(viewer, spec, SelfTest(seed=0, height=96, width=128, histogram=(0, 0)))

    assert viewer.heights == [height]


def test_every_pixel_that_changed_class_counts_once() -> None:
    test = make_self_test(network(0), SPEC)
    other = test.model_copy(update={"histogram": (test.histogram[0] + 5, test.histogram[1] - 5)})

    assert changed_pixels(network(0), SPEC, other) == 5


@pytest.mark.parametrize(
    "other", [InputRule(mean=(0, 0, 0), std=(1 / 255, 1 / 255, 1 / 255)), InputRule(color_order="bgr")]
)
def test_trap_28_a_network_fed_in_another_way_than_it_was_made_for_fails_its_test(other: InputRule) -> None:
    test = make_self_test(network(0), SPEC)

    assert changed_pixels(network(0), SPEC.model_copy(update={"input": other}), test) > TOLERANCE * 96 * 128


def test_a_network_that_sees_background_everywhere_is_still_told_from_a_broken_one() -> None:
    shy = network(0)
    with torch.no_grad():
        shy.score.bias[0] += 1000  # type: ignore[union-attr, index, operator]  # U-Net's last convolution
    test = make_self_test(shy, SPEC)
    broken = network(0)
    with torch.no_grad():
        for weight in broken.parameters():
            weight.zero_()

    assert max(test.histogram) < 0.9 * 96 * 128
    assert changed_pixels(network(0), SPEC, test) == 0
    assert changed_pixels(broken, SPEC, test) > 0.1 * 96 * 128


@pytest.mark.parametrize("value", [float("nan"), 1e30])
def test_a_network_whose_scores_are_not_finite_gets_no_test_and_passes_none(value: float) -> None:
    test = make_self_test(network(0), SPEC)
    broken = network(0)
    with torch.no_grad():
        for weight in broken.parameters():
            weight.fill_(value)

    with pytest.raises(BadCheckpoint, match="unet answers an image with scores that are not finite"):
        make_self_test(broken, SPEC)
    with pytest.raises(BadCheckpoint, match="self-test failed, unet answers"):
        changed_pixels(broken, SPEC, test)
