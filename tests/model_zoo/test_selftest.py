import numpy as np
import pytest
import torch

from model_zoo.architectures import build
from model_zoo.card import SelfTest
from model_zoo.selftest import TOLERANCE, changed_pixels, generated_image, make_self_test
from model_zoo.spec import InputRule, ModelSpec

SPEC = ModelSpec(
    architecture="unet", arguments={"base_channels": 4}, classes=("a", "b"), palette=((0, 0, 0), (9, 9, 9))
)


def network(seed: int) -> torch.nn.Module:
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
            weight.fill_(float("nan"))

    assert max(test.histogram) < 0.9 * 96 * 128
    assert changed_pixels(network(0), SPEC, test) == 0
    assert changed_pixels(broken, SPEC, test) > 0.1 * 96 * 128
