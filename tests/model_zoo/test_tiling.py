import pytest
import torch
from torch import Tensor, nn

from model_zoo.architectures.unet import VALID_BORDER, UNet
from model_zoo.tiling import overlap_tile, sliding_window


def image_of(height: int, width: int, channels: int = 3) -> Tensor:
    return torch.randn(1, channels, height, width, generator=torch.Generator().manual_seed(0))


def three_convolutions() -> nn.Sequential:
    """Look three pixels far."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(),
                         nn.Conv2d(8, 4, 3, padding=1)).eval()  # fmt: skip


@pytest.mark.parametrize(("height", "width"), [(50, 67), (32, 32), (7, 5)])
@torch.inference_mode()
def test_tiles_equal_the_whole_image_where_the_network_sees_no_further_than_the_margin(height: int, width: int) -> None:
    network, image = three_convolutions(), image_of(height, width)
    whole = network(image)

    tiled = overlap_tile(network, image, side=16, margin=3)

    assert tiled.shape == whole.shape
    torch.testing.assert_close(tiled[..., 3:-3, 3:-3], whole[..., 3:-3, 3:-3], atol=1e-5, rtol=0)


@torch.inference_mode()
def test_a_margin_that_is_too_small_leaves_seams() -> None:
    network, image = three_convolutions(), image_of(48, 48)

    tiled = overlap_tile(network, image, side=16, margin=2)

    assert (tiled - network(image))[..., 3:-3, 3:-3].abs().max() > 1e-4


@torch.inference_mode()
def test_row_15_the_tiles_of_a_u_net_join_without_a_seam() -> None:
    torch.manual_seed(0)
    network = UNet(2, base_channels=2, padding="valid", norm="none", in_channels=1).eval()
    image = image_of(777, 1000, channels=1)

    tiled = overlap_tile(lambda images: network(images).logits, image, side=256, margin=96)

    torch.testing.assert_close(tiled, network(image).logits, atol=1e-5, rtol=0)


@torch.inference_mode()
def test_row_15_the_papers_tiles_of_388_pixels_cover_an_image() -> None:
    network = UNet(2, base_channels=1, padding="valid", norm="none", in_channels=1).eval()
    image = image_of(400, 500, channels=1)

    tiled = overlap_tile(network.valid_logits, image, side=388, margin=VALID_BORDER)

    assert tiled.shape == (1, 2, 400, 500)
    torch.testing.assert_close(tiled[..., :388, :388], network(image).logits[..., :388, :388], atol=1e-5, rtol=0)


@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.5, 0.9])
@pytest.mark.parametrize(("height", "width"), [(50, 67), (20, 20), (9, 30)])
def test_windows_of_a_network_that_sees_single_pixels_equal_the_whole_image(
    height: int, width: int, overlap: float
) -> None:
    image = image_of(height, width)

    blended = sliding_window(lambda images: 2 * images + 1, image, side=20, overlap=overlap)

    torch.testing.assert_close(blended, 2 * image + 1, atol=1e-5, rtol=1e-5)


def test_the_middle_of_a_window_counts_most() -> None:
    calls: list[Tensor] = []

    def number_windows(images: Tensor) -> Tensor:
        calls.append(images)
        return torch.full_like(images, len(calls))

    blended = sliding_window(number_windows, image_of(8, 24, channels=1), side=16, overlap=0.5)[0, 0, 0]

    assert len(calls) == 2
    assert blended[8] < 1.05
    assert blended[15] > 1.95
    assert blended[11:13].mean() == pytest.approx(1.5, abs=1e-4)


def test_no_window_is_larger_than_it_may_be() -> None:
    sizes: set[tuple[int, ...]] = set()

    def note(images: Tensor) -> Tensor:
        sizes.add(tuple(images.shape))
        return images

    sliding_window(note, image_of(30, 45), side=16, overlap=0.3)

    assert sizes == {(1, 3, 16, 16)}


@pytest.mark.parametrize(("size", "margin"), [(6, 2), (3, 7), (1, 4)])
def test_the_margin_is_mirrored_as_often_as_it_takes(size: int, margin: int) -> None:
    seen: list[Tensor] = []

    def note(images: Tensor) -> Tensor:
        seen.append(images)
        return images

    overlap_tile(note, torch.arange(float(size)).expand(1, 1, size, size), side=size, margin=margin)

    wave = [*range(size), *range(size - 2, 0, -1)]
    expected = [wave[place % len(wave)] for place in range(-margin, size + margin)]
    assert seen[0][0, 0, 0].tolist() == expected
