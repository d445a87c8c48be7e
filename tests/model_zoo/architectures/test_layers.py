from __future__ import annotations

import pytest
import torch
from torch import nn

from model_zoo.architectures.layers import ImagePool, PoolNorm, conv_norm, mirror_pad, upsampled


@pytest.mark.parametrize(("kernel", "dilation"), [(1, 1), (3, 1), (3, 6), (5, 2)])
def test_a_convolution_keeps_the_size_whatever_its_kernel_and_dilation(kernel: int, dilation: int) -> None:
    layers = conv_norm(2, 4, kernel=kernel, dilation=dilation)

    assert layers(torch.zeros(2, 2, 7, 9)).shape == (2, 4, 7, 9)
    assert layers.get_submodule("0").dilation == (dilation, dilation)


@pytest.mark.parametrize("norm", ["layer", "batch"])
def test_the_image_pool_tells_every_place_what_its_image_shows_on_average(norm: PoolNorm) -> None:
    pool = ImagePool(nn.Conv2d(3, 8, 1, bias=False), norm).eval()
    images = torch.randn(2, 3, 5, 7)
    means = images.mean(dim=(2, 3), keepdim=True)

    found = pool(images)

    assert torch.equal(found, pool(means).expand(-1, -1, 5, 7))
    assert not torch.equal(found[0], found[1])


@pytest.mark.parametrize("first", [0, 1])
def test_the_names_in_the_image_pool_count_from_where_they_are_told(first: int) -> None:
    pool = ImagePool(nn.Conv2d(3, 8, 1, bias=False), "layer", first=first)

    assert set(pool.state_dict()) == {f"{first}.weight", f"{first + 1}.weight", f"{first + 1}.bias"}


def test_row_10_and_trap_31_the_image_pool_learns_from_one_image_unless_it_normalises_over_the_batch() -> None:
    one, two = torch.randn(1, 3, 5, 7), torch.randn(2, 3, 5, 7)
    layer, batch = (ImagePool(nn.Conv2d(3, 8, 1, bias=False), norm) for norm in ("layer", "batch"))

    assert layer(one).isfinite().all()
    assert batch(two).isfinite().all()
    assert batch.eval()(one).isfinite().all()
    with pytest.raises(ValueError, match=r"\Apool_norm='batch' cannot learn from a batch of one image; [^\n]+\Z"):
        batch.train()(one)


@pytest.mark.parametrize(("align_corners", "expected"), [(False, [0, 0.75, 2.25, 3]), (True, [0, 1, 2, 3])])
def test_maps_are_upsampled_to_the_size_of_others(align_corners: bool, expected: list[float]) -> None:
    maps = torch.tensor([0.0, 3.0]).reshape(1, 1, 1, 2)

    found = upsampled(maps, like=torch.zeros(1, 3, 1, 4), align_corners=align_corners)

    assert found.flatten().tolist() == pytest.approx(expected)


def test_borders_are_mirrored() -> None:
    images = torch.arange(4.0).reshape(1, 1, 1, 4)

    padded = mirror_pad(images, height=(0, 0), width=(2, 1))

    assert padded.flatten().tolist() == [2, 1, 0, 1, 2, 3, 2]


def test_trap_32_an_axis_too_small_to_mirror_repeats_its_border() -> None:
    images = torch.arange(3.0).reshape(1, 1, 3, 1).expand(1, 1, 3, 8)

    padded = mirror_pad(images, height=(3, 0), width=(3, 3))

    assert padded.shape == (1, 1, 6, 14)
    assert padded[0, 0, :, 0].tolist() == [0, 0, 0, 0, 1, 2]
