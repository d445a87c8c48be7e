from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from model_zoo.preprocess import mean_color, network_input
from model_zoo.spec import InputRule, ModelSpec, SizeRule
from training.datasets import Sample
from training.transforms import Augment, Augmentation, pad_to

PLAIN = Augmentation(crop=40, scale_min=1.0, scale_max=1.0, flip=0.0, jitter=0.0)
STRONG = Augmentation(crop=48, scale_min=0.5, scale_max=2.0, flip=0.5, jitter=0.4)


def make_sample(width: int = 60, height: int = 50, *, sample_id: str = "a") -> Sample:
    random = np.random.default_rng(7)
    image = Image.fromarray(random.integers(0, 256, (height // 10 + 1, width // 10 + 1, 3), dtype=np.uint8))
    target = random.choice(np.array([0, 15, 255], np.uint8), (height, width))
    return Sample(sample_id, image.resize((width, height), Image.Resampling.BICUBIC), target)


@given(st.integers(1, 90), st.integers(1, 90), st.integers(0, 1000))
@settings(max_examples=40, deadline=None)
def test_trap_1_a_target_never_gains_a_class(width: int, height: int, seed: int) -> None:
    sample = make_sample(width, height)

    image, target = Augment(InputRule(), SizeRule(), STRONG)(sample, seed=seed, epoch=1)

    assert image.shape == (3, 48, 48)
    assert image.dtype == torch.uint8
    assert target.shape == (48, 48)
    assert set(np.unique(target)) <= {*np.unique(sample.target).tolist(), 255}


def test_trap_2_what_lies_beyond_the_image_is_void_and_of_the_mean_colour() -> None:
    white = Sample("white", Image.new("RGB", (20, 20), "white"), np.zeros((20, 20), np.uint8))
    augment = Augment(InputRule(), SizeRule(), PLAIN)

    image, target = augment(white, seed=0, epoch=1)

    beyond = target == 255
    assert int(beyond.sum()) == 40 * 40 - 20 * 20
    assert np.unique(image[:, beyond], axis=1).ravel().tolist() == list(mean_color(InputRule()))
    assert image[:, ~beyond].min() == 255


def test_trap_20_the_same_seed_epoch_and_id_give_the_same_numbers_wherever_they_are_drawn() -> None:
    augment = Augment(InputRule(), SizeRule(), STRONG)
    first = augment(make_sample(), seed=3, epoch=2)
    torch.rand(17)

    again = augment(make_sample(), seed=3, epoch=2)

    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])


@pytest.mark.parametrize(("seed", "epoch", "sample_id"), [(4, 2, "a"), (3, 1, "a"), (3, 2, "b")])
def test_trap_20_another_seed_epoch_or_id_gives_other_numbers(seed: int, epoch: int, sample_id: str) -> None:
    augment = Augment(InputRule(), SizeRule(), STRONG)

    one = augment(make_sample(), seed=3, epoch=2)
    other = augment(make_sample(sample_id=sample_id), seed=seed, epoch=epoch)

    assert not torch.equal(one[0], other[0])


def test_drawing_leaves_the_programs_own_random_numbers_alone() -> None:
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)

    Augment(InputRule(), SizeRule(), STRONG)(make_sample(), seed=0, epoch=1)

    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("seed", range(8))
def test_trap_21_image_and_target_move_together(seed: int) -> None:
    target = np.zeros((60, 60), np.uint8)
    target[10:30, 5:35] = 15
    image = Image.fromarray((target == 15).astype(np.uint8) * 255).convert("RGB")
    moving = Augmentation(crop=48, scale_min=0.5, scale_max=2.0, flip=0.5, jitter=0.0)

    pixels, moved = Augment(InputRule(), SizeRule(), moving)(Sample("box", image, target), seed=seed, epoch=1)

    assert pixels[0][moved == 15].min() > 255 / 4
    assert pixels[0][moved == 0].max() < 255 * 3 / 4


def test_trap_21_colours_change_in_the_image_alone() -> None:
    sample = make_sample(48, 48)
    colouring = Augmentation(crop=48, scale_min=1.0, scale_max=1.0, flip=0.0, jitter=0.5)

    image, target = Augment(InputRule(), SizeRule(), colouring)(sample, seed=0, epoch=1)

    assert not np.array_equal(image.permute(1, 2, 0).numpy(), np.asarray(sample.image))
    assert np.array_equal(target.numpy(), sample.target)


@pytest.mark.parametrize("order", ["rgb", "bgr", "grey"])
@pytest.mark.parametrize(("side", "tolerance"), [(96, 0), (64, 1)])
def test_trap_24_an_image_that_is_not_varied_is_what_serving_makes_of_it(order: str, side: int, tolerance: int) -> None:
    channels = 1 if order == "grey" else 3
    rule = InputRule(mean=(0.4,) * channels, std=(0.2,) * channels, color_order=order)
    size = SizeRule(policy="longest", side=side)
    spec = ModelSpec(architecture="unet", classes=("a",), palette=((0, 0, 0),), input=rule, size=size)
    sample = make_sample(96, 96)

    image, _ = Augment(rule, size, replace(PLAIN, crop=side))(sample, seed=0, epoch=1)

    served = network_input(sample.image, spec).pixels
    assert image.shape == served.shape
    assert (image.int() - served.int()).abs().max() <= tolerance


def test_the_padding_of_a_bgr_network_is_its_mean_in_its_own_order() -> None:
    rule = InputRule(mean=(0.1, 0.5, 0.9), color_order="bgr")
    black = Sample("black", Image.new("RGB", (20, 20)), np.zeros((20, 20), np.uint8))

    image, target = Augment(rule, SizeRule(), PLAIN)(black, seed=0, epoch=1)

    assert image[:, target == 255][:, 0].tolist() == list(mean_color(rule))


def test_without_a_crop_the_whole_scaled_image_stays() -> None:
    sample = make_sample(60, 50)
    halved = Augmentation(crop=0, scale_min=0.5, scale_max=0.5, flip=0.0, jitter=0.0)

    image, target = Augment(InputRule(), SizeRule(), halved)(sample, seed=0, epoch=1)

    assert image.shape == (3, 25, 30)
    assert np.array_equal(target.numpy(), sample.target[1::2, 1::2])


def test_trap_2_padding_to_a_size_adds_void_and_the_colour_on_the_right_and_below() -> None:
    image, target = torch.full((3, 4, 5), 7, dtype=torch.uint8), torch.ones(4, 5, dtype=torch.uint8)

    padded, void = pad_to(image, target, 6, 8, (10, 20, 30))

    assert torch.equal(padded[:, :4, :5], image)
    assert torch.equal(void[:4, :5], target)
    beyond = torch.ones(6, 8, dtype=torch.bool)
    beyond[:4, :5] = False
    assert np.unique(padded[:, beyond], axis=1).tolist() == [[10], [20], [30]]
    assert np.unique(void[beyond]).tolist() == [255]
    assert void.dtype == padded.dtype == torch.uint8


def test_nothing_is_padded_to_a_smaller_size() -> None:
    image, target = torch.zeros(3, 4, 5, dtype=torch.uint8), torch.zeros(4, 5, dtype=torch.uint8)

    with pytest.raises(ValueError, match="image is 5x4 px, to be padded to 4x8"):
        pad_to(image, target, 8, 4, (0, 0, 0))


@pytest.mark.parametrize("seed", range(3))
def test_colours_of_one_strength_each_are_what_jitter_gives_them_together(seed: int) -> None:
    together, apart = replace(STRONG, jitter=0.4), replace(STRONG, jitter=0.0)
    apart = replace(apart, brightness=0.4, contrast=0.4, saturation=0.4)

    one, other = (
        Augment(InputRule(), SizeRule(), strength)(make_sample(), seed=seed, epoch=1) for strength in (together, apart)
    )

    assert torch.equal(one[0], other[0])
    assert torch.equal(one[1], other[1])


@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation", "hue"])
def test_a_colour_has_a_strength_of_its_own(name: str) -> None:
    sample = make_sample(40, 40)
    change: dict[str, Any] = {name: 0.4}

    image, _ = Augment(InputRule(), SizeRule(), replace(PLAIN, **change))(sample, seed=0, epoch=1)

    assert not np.array_equal(image.permute(1, 2, 0).numpy(), np.asarray(sample.image))


@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation"])
def test_a_colours_own_strength_can_be_zero(name: str) -> None:
    change: dict[str, Any] = {name: 0.0}
    colored = replace(PLAIN, jitter=0.4)

    one, other = (
        Augment(InputRule(), SizeRule(), strength)(make_sample(40, 40), seed=0, epoch=1)[0]
        for strength in (colored, replace(colored, **change))
    )

    assert not torch.equal(one, other)


def test_a_hue_turns_colours_and_leaves_greys() -> None:
    grey = Sample("grey", Image.new("RGB", (40, 40), (90, 90, 90)), np.zeros((40, 40), np.uint8))

    image, _ = Augment(InputRule(), SizeRule(), replace(PLAIN, hue=0.5))(grey, seed=0, epoch=1)

    assert np.unique(image).tolist() == [90]
