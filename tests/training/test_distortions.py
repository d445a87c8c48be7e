from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import tv_tensors  # type: ignore[import-untyped]  # torchvision has no stubs
from torchvision.transforms import v2  # type: ignore[import-untyped]  # torchvision has no stubs

from model_zoo.preprocess import mean_color
from model_zoo.spec import InputRule, SizeRule
from training.datasets import Sample
from training.datasets.shapes import Shapes
from training.distortions import CROP_DRAWS, RandomCrop, RandomElastic, RandomJPEG, RandomMotionBlur, RandomShift
from training.evaluation.boundaries import near_boundary
from training.random_key import random_key
from training.transforms import Augment, Augmentation, RandomScale

STILL = Augmentation(crop=96, scale_min=1.0, scale_max=1.0, flip=0.0, jitter=0.0)
BENDS = ("flip_vertical", "rotate", "shift", "elastic")
DEFECTS = ("grey", "blur", "motion_blur", "noise", "jpeg")


def certain(*names: str, crop: int = 96, chance: float = 1.0) -> Augmentation:
    changes: dict[str, Any] = dict.fromkeys(names, chance)
    return replace(STILL, crop=crop, **changes)


def disc(side: int = 96) -> Sample:
    """Give a picture that shows its own target: white on black, with a void ring that is grey."""
    y, x = np.mgrid[:side, :side]
    radius = np.hypot(y - 40, x - 55)
    target = np.select([radius < 20, radius < 28], [15, 255], 0).astype(np.uint8)
    grey = np.select([target == 15, target == 255], [255, 128], 0).astype(np.uint8)
    return Sample("disc", Image.fromarray(grey).convert("RGB"), target)


def augmented(strength: Augmentation, sample: Sample, seed: int = 0) -> tuple[Tensor, Tensor]:
    return Augment(InputRule(), SizeRule(), strength)(sample, seed=seed, epoch=1)


def before(sample: Sample, strength: Augmentation, *, seed: int) -> tuple[Tensor, Tensor]:
    """Vary a sample as it was before there were any distortions."""
    jitter = strength.jitter
    fill = {tv_tensors.Image: list(mean_color(InputRule())), tv_tensors.Mask: 255}
    transform = v2.Compose([
        RandomScale(SizeRule(), strength.scale_min, strength.scale_max),
        v2.RandomCrop(strength.crop, pad_if_needed=True, fill=fill),
        v2.RandomHorizontalFlip(strength.flip),
        v2.ColorJitter(brightness=jitter, contrast=jitter, saturation=jitter),
    ])  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(random_key(seed, 1, sample.id))
        image, target = transform(v2.functional.to_image(sample.image), tv_tensors.Mask(sample.target))
    return image.as_subclass(Tensor), target.as_subclass(Tensor)


class Counted(RandomCrop):
    """Count the crops that are looked at."""

    looked_at = 0

    def _holds_enough(self, target: Tensor) -> bool:
        self.looked_at += 1
        return super()._holds_enough(target)


@pytest.mark.parametrize("seed", range(5))
def test_what_is_off_changes_nothing(seed: int) -> None:
    strength = Augmentation(crop=80, scale_min=0.5, scale_max=2.0, flip=0.5, jitter=0.3)
    sample = Shapes(Path("3"), "train")[seed % 3]

    image, target = augmented(strength, sample, seed)

    expected = before(sample, strength, seed=seed)
    assert torch.equal(image, expected[0])
    assert torch.equal(target, expected[1])


@pytest.mark.parametrize("names", [*((name,) for name in BENDS), BENDS])
@pytest.mark.parametrize("seed", range(6))
def test_trap_21_image_and_target_are_bent_by_one_draw(names: tuple[str, ...], seed: int) -> None:
    image, target = augmented(certain(*names), disc(), seed)

    inside = ~near_boundary(target, 2)
    grey = image[0].int()
    assert (inside & (target == 15)).any()
    assert grey[inside & (target == 15)].min() > 230  # each sampling smooths the edges a little further
    assert grey[inside & (target == 0)].max() < 25


@pytest.mark.parametrize("name", BENDS)
@pytest.mark.parametrize("seed", range(4))
def test_trap_1_bends_give_void_and_no_other_new_class(name: str, seed: int) -> None:
    white = Sample("white", Image.new("RGB", (96, 96), "white"), np.full((96, 96), 15, np.uint8))

    image, target = augmented(certain(name), white, seed)

    outside = target == 255
    assert set(np.unique(target).tolist()) <= {15, 255}
    far = outside & ~near_boundary(target, 2)
    assert (image[:, far].int() - torch.tensor(mean_color(InputRule()))[:, None]).abs().sum() == 0
    assert image[:, ~outside & ~near_boundary(target, 2)].min() == 255


@pytest.mark.parametrize("name", DEFECTS)
def test_trap_21_defects_are_the_images_alone(name: str) -> None:
    random = np.random.default_rng(0)
    picture = Image.fromarray(random.integers(0, 256, (96, 96, 3), dtype=np.uint8))
    sample = Sample("noisy", picture, disc().target)

    image, target = augmented(certain(name), sample)

    assert image.shape == (3, 96, 96)
    assert image.dtype == torch.uint8
    assert not np.array_equal(image.permute(1, 2, 0).numpy(), np.asarray(picture))
    assert np.array_equal(target.numpy(), sample.target)


@pytest.mark.parametrize("order", ["rgb", "bgr", "grey"])
def test_everything_at_once_works_for_every_kind_of_input(order: str) -> None:
    channels = 1 if order == "grey" else 3
    rule = InputRule(mean=(0.4,) * channels, std=(0.2,) * channels, color_order=order)
    augment = Augment(rule, SizeRule(), certain(*BENDS, *DEFECTS, crop=32))

    image, target = augment(disc(20), seed=0, epoch=1)

    assert image.shape == (channels, 32, 32)
    assert target.shape == (32, 32)


class Distorted(Dataset[tuple[Tensor, Tensor]]):
    """Distort each of seven samples by chance."""

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return augmented(certain(*BENDS, *DEFECTS, crop=48, chance=0.5), Shapes(Path("7"), "train")[index], 1)

    def __len__(self) -> int:
        return 7


def test_trap_20_distorted_samples_do_not_depend_on_the_number_of_workers() -> None:
    alone, helped = (
        list(DataLoader(Distorted(), batch_size=None, num_workers=workers, shuffle=False)) for workers in (0, 2)
    )

    assert len(alone) == len(helped) == 7
    assert all(torch.equal(one[0], other[0]) for one, other in zip(alone, helped, strict=True))
    assert all(torch.equal(one[1], other[1]) for one, other in zip(alone, helped, strict=True))


def test_a_chance_of_one_half_happens_about_half_the_time() -> None:
    plain = np.asarray(disc().image)
    strength = replace(STILL, noise=0.5)

    changed = [not np.array_equal(augmented(strength, disc(), seed)[0].permute(1, 2, 0), plain) for seed in range(60)]

    assert 15 < sum(changed) < 45


def test_a_shift_reaches_its_bound_in_both_directions_and_never_further() -> None:
    point = torch.zeros(1, 21, 21, dtype=torch.uint8)
    point[0, 10, 10] = 1
    shift = RandomShift(3, [0])
    torch.manual_seed(0)

    moves = {tuple(shift(tv_tensors.Image(point))[0].nonzero()[0].tolist()) for _ in range(700)}

    assert moves == {(y, x) for y in range(7, 14) for x in range(7, 14)}


def test_elastic_displacements_have_the_deviation_asked_for_at_the_points_of_the_grid() -> None:
    elastic = RandomElastic(10.0, [0])
    image = tv_tensors.Image(torch.zeros(1, 41, 61, dtype=torch.uint8))
    torch.manual_seed(0)

    drawn = torch.cat([elastic.make_params([image])["displacement"] for _ in range(300)])

    pixels = drawn[:, ::20, ::30] * torch.tensor([61 / 2, 41 / 2])
    assert pixels.shape == (300, 3, 3, 2)
    torch.testing.assert_close(pixels.std(0), torch.full((3, 3, 2), 10.0), atol=1.5, rtol=0)


def test_a_motion_blur_keeps_the_light_and_spreads_it_along_one_line() -> None:
    point = torch.zeros(3, 41, 41, dtype=torch.uint8)
    point[:, 20, 20] = 250
    blur = RandomMotionBlur(9)
    torch.manual_seed(0)

    for _ in range(20):
        blurred = blur(tv_tensors.Image(point))[0].float()
        y, x = blurred.nonzero().float().T
        assert blurred.sum().item() == pytest.approx(250, abs=8)
        assert max((y - 20).abs().max(), (x - 20).abs().max()) <= 4
        spread = torch.linalg.eigvalsh(torch.cov(torch.stack([y, x]), correction=0))
        assert spread[0] < spread[1]


def test_jpeg_loses_more_the_lower_its_quality() -> None:
    random = np.random.default_rng(0)
    image = tv_tensors.Image(torch.from_numpy(random.integers(0, 256, (3, 40, 40), dtype=np.uint8)))
    jpeg = RandomJPEG(1)
    torch.manual_seed(0)

    losses = [
        (jpeg.transform(image, {"quality": quality}).int() - image.int()).abs().float().mean()
        for quality in (5, 50, 95)
    ]

    assert losses[0] > losses[1] > losses[2] > 0
    assert 1 <= min(jpeg.make_params([image])["quality"] for _ in range(300)) < 10
    assert RandomJPEG(95).make_params([image]) == {"quality": 95}


def half_and_half(side: int = 64) -> tv_tensors.Mask:
    """Give a target of background with a square of class 15 in one corner, and void elsewhere."""
    target = np.full((side, side), 255, np.uint8)
    target[:, : side // 2] = 0
    target[: side // 2, : side // 2] = 15
    return tv_tensors.Mask(torch.from_numpy(target))


def filled_by_one_class(target: Tensor) -> float:
    """Give the largest share that one class has of what is labelled; 1 where nothing is."""
    counts = target.flatten().bincount(minlength=256)[:255].float()
    return float(counts.max() / counts.sum()) if counts.sum() else 1.0


def test_trap_22_a_crop_is_drawn_again_until_no_class_fills_it_alone() -> None:
    torch.manual_seed(0)
    target = half_and_half()

    shares = [
        [filled_by_one_class(RandomCrop(16, class_share, [0])(target)) for _ in range(200)]
        for class_share in (1.0, 0.75)
    ]

    monotonous = [sum(share > 0.75 for share in crops) for crops in shares]
    assert monotonous[0] > 120
    assert monotonous[1] < 60  # eleven draws are not always enough


def test_trap_22_a_target_of_one_class_alone_is_cropped_after_the_last_draw() -> None:
    target = tv_tensors.Mask(torch.zeros(40, 40, dtype=torch.uint8))
    crop = Counted(16, 0.75, [0])

    cropped = crop(target)

    assert cropped.shape == (16, 16)
    assert crop.looked_at == CROP_DRAWS - 1 == 10


def test_trap_2_a_crop_without_any_label_is_drawn_again_though_one_class_may_fill_nearly_all() -> None:
    torch.manual_seed(0)
    target = half_and_half()

    plain, choosy = ([RandomCrop(16, share, [0])(target) for _ in range(200)] for share in (1.0, 0.999))

    unlabelled = [sum(bool((crop == 255).all()) for crop in crops) for crops in (plain, choosy)]
    assert unlabelled[0] > 40
    assert unlabelled[1] < 20


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("crop", [40, 130])
def test_trap_21_a_choosy_crop_cuts_image_and_target_alike(crop: int, seed: int) -> None:
    image, target = augmented(replace(STILL, crop=crop, class_share=0.6), disc(), seed)

    assert target.shape == (crop, crop)
    assert bool((image[0][target == 15] == 255).all())
    assert bool((image[0][target == 0] == 0).all())


def test_every_plain_name_of_the_distortions_is_off_by_default() -> None:
    defaults = {field.name: field.default for field in fields(Augmentation)}

    assert [defaults[name] for name in (*BENDS, *DEFECTS)] == [0.0] * 9


@pytest.mark.parametrize("name", [*BENDS, *DEFECTS])
@pytest.mark.parametrize("side", [1, 5])
def test_whole_images_of_a_few_pixels_are_varied_as_well(name: str, side: int) -> None:
    pixels = np.arange(side * side * 3, dtype=np.uint8).reshape(side, side, 3)
    sample = Sample("tiny", Image.fromarray(pixels), np.zeros((side, side), np.uint8))
    augment = Augment(InputRule(), SizeRule(policy="native"), certain(name, crop=0))

    image, target = augment(sample, seed=0, epoch=1)

    assert (image.shape, target.shape) == ((3, side, side), (side, side))
