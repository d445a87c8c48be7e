from io import BytesIO

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import ExifTags, Image

from model_zoo.preprocess import (
    UnsupportedMode,
    mean_color,
    network_input,
    network_size,
    normalise,
    padded_size,
    upright_rgb,
)
from model_zoo.spec import InputRule, ModelSpec, SizeRule


def spec(**parts: object) -> ModelSpec:
    return ModelSpec.model_validate({"architecture": "unet", "classes": ("a",), "palette": ((0, 0, 0),), **parts})


def picture(width: int, height: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


def with_orientation(image: Image.Image, orientation: int) -> Image.Image:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    file = BytesIO()
    image.save(file, "PNG", exif=exif)
    return Image.open(file)


# The eight ways in which a camera may store the picture whose first row is 1 2 and whose second is 3 4.
STORED = {
    1: [[1, 2], [3, 4]],
    2: [[2, 1], [4, 3]],
    3: [[4, 3], [2, 1]],
    4: [[3, 4], [1, 2]],
    5: [[1, 3], [2, 4]],
    6: [[2, 4], [1, 3]],
    7: [[4, 2], [3, 1]],
    8: [[3, 1], [4, 2]],
}


@pytest.mark.parametrize("orientation", STORED)
def test_trap_13_the_exif_orientation_is_applied(orientation: int) -> None:
    stored = Image.fromarray(np.array(STORED[orientation], dtype=np.uint8))

    image = upright_rgb(with_orientation(stored, orientation))

    assert np.asarray(image)[..., 0].tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_trap_13_an_orientation_that_means_nothing_changes_nothing(orientation: int) -> None:
    stored = picture(3, 2)

    assert upright_rgb(with_orientation(stored, orientation)).tobytes() == stored.tobytes()


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("exif", [b"MM\x00*\xff\xff\xff\xff broken", b"this is no TIFF header", b"II"])
def test_trap_13_broken_exif_changes_nothing(kind: str, exif: bytes) -> None:
    file = BytesIO()
    picture(8, 8).save(file, kind, exif=b"Exif\x00\x00" + exif)

    assert upright_rgb(Image.open(file)).size == (8, 8)


@pytest.mark.parametrize(
    ("image", "color"),
    [
        (Image.new("1", (2, 2), 1), (255, 255, 255)),
        (Image.new("L", (2, 2), 7), (7, 7, 7)),
        (Image.new("LA", (2, 2), (100, 255)), (100, 100, 100)),
        (Image.new("LA", (2, 2), (100, 0)), (255, 255, 255)),
        (Image.new("RGBA", (2, 2), (10, 20, 30, 255)), (10, 20, 30)),
        (Image.new("RGBA", (2, 2), (10, 20, 30, 0)), (255, 255, 255)),
        (Image.new("CMYK", (2, 2), (0, 0, 0, 0)), (255, 255, 255)),
        (Image.new("I;16", (2, 2), 0x8123), (0x81, 0x81, 0x81)),
        (Image.new("I;16B", (2, 2), 0x8123), (0x81, 0x81, 0x81)),
        (Image.new("I", (2, 2), 0xFF00), (255, 255, 255)),
        (Image.new("I", (2, 2), 0x12345), (255, 255, 255)),
        (Image.new("I", (2, 2), -5), (0, 0, 0)),
    ],
    ids=lambda value: value.mode if isinstance(value, Image.Image) else str(value),
)
def test_trap_14_every_mode_has_one_way_to_rgb(image: Image.Image, color: tuple[int, int, int]) -> None:
    rgb = upright_rgb(image)

    assert rgb.mode == "RGB"
    assert rgb.getpixel((1, 1)) == color


def test_trap_14_a_palette_with_a_transparent_color_is_laid_on_white() -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([9, 9, 9, 40, 50, 60])
    image.putdata([0, 1])
    image.info["transparency"] = 0

    rgb = upright_rgb(image)

    assert [rgb.getpixel((x, 0)) for x in (0, 1)] == [(255, 255, 255), (40, 50, 60)]


def test_trap_14_a_transparent_color_without_an_alpha_channel_is_laid_on_white() -> None:
    image = Image.new("RGB", (2, 1), (10, 20, 30))
    image.putpixel((1, 0), (40, 50, 60))
    file = BytesIO()
    image.save(file, "PNG", transparency=(10, 20, 30))

    rgb = upright_rgb(Image.open(file))

    assert [rgb.getpixel((x, 0)) for x in (0, 1)] == [(255, 255, 255), (40, 50, 60)]


def test_trap_14_an_adobe_cmyk_jpeg_is_not_inverted() -> None:
    file = BytesIO()
    Image.new("CMYK", (16, 16), (0, 255, 255, 0)).save(file, "JPEG", quality=95)

    red, green, blue = upright_rgb(Image.open(file)).getpixel((8, 8))  # type: ignore[misc]  # three channels

    assert red > 240
    assert green < 15
    assert blue < 15


def test_trap_14_floating_point_pixels_are_refused_by_name() -> None:
    with pytest.raises(UnsupportedMode, match="mode F"):
        upright_rgb(Image.new("F", (2, 2)))


@pytest.mark.parametrize(
    ("size", "rule", "expected"),
    [
        ((375, 500), SizeRule(), (375, 500)),
        ((3000, 4000), SizeRule(), (384, 512)),
        ((20000, 1), SizeRule(), (512, 1)),
        ((100, 80), SizeRule(policy="native"), (100, 80)),
        ((100, 200), SizeRule(policy="shortest", side=520), (520, 1040)),
        ((1, 20000), SizeRule(policy="shortest", side=520), (1, 4160)),
    ],
)
def test_the_size_rule_keeps_the_aspect_ratio(size: tuple[int, int], rule: SizeRule, expected: tuple[int, int]) -> None:
    assert network_size(size, rule) == expected


@given(st.integers(1, 3000), st.integers(1, 3000), st.sampled_from([1, 8, 32]))
def test_the_padded_size_is_a_multiple_that_holds_the_content(height: int, width: int, multiple: int) -> None:
    rule = SizeRule(multiple=multiple)

    padded = padded_size(network_size((height, width), rule), rule)

    assert all(side % multiple == 0 and side >= 32 for side in padded)
    content = network_size((height, width), rule)
    assert all(0 <= outer - inner < max(32, multiple) for outer, inner in zip(padded, content, strict=True))


def test_an_image_that_needs_no_resizing_arrives_pixel_for_pixel() -> None:
    image = picture(70, 50)

    item = network_input(image, spec())

    assert (item.content, item.size) == ((50, 70), (50, 70))
    assert item.pixels.shape == (3, 64, 96)
    assert item.pixels.dtype == torch.uint8
    assert np.array_equal(item.pixels[:, :50, :70].permute(1, 2, 0).numpy(), np.asarray(image))


def test_the_padding_is_the_mean_color_and_normalises_to_nothing() -> None:
    rule = InputRule()

    item = network_input(picture(40, 40), spec(input=rule))

    assert tuple(item.pixels[:, -1, -1].tolist()) == mean_color(rule)
    assert normalise(item.pixels[None], rule)[0, :, -1, -1].abs().max() < 0.02


def test_bgr_swaps_the_channels() -> None:
    item = network_input(Image.new("RGB", (32, 32), (1, 2, 3)), spec(input=InputRule(color_order="bgr")))

    assert item.pixels[:, 0, 0].tolist() == [3, 2, 1]


def test_grey_gives_one_channel() -> None:
    rule = InputRule(color_order="grey", mean=(0.5,), std=(0.5,))

    item = network_input(Image.new("RGB", (32, 32), (9, 9, 9)), spec(input=rule))

    assert item.pixels.shape == (1, 32, 32)
    assert item.pixels[0, 0, 0] == 9


def test_normalise_is_value_by_255_minus_mean_by_std() -> None:
    rule = InputRule(mean=(0.1, 0.2, 0.3), std=(0.5, 0.25, 0.125))
    pixels = torch.tensor([0, 128, 255], dtype=torch.uint8).view(1, 3, 1, 1)

    values = normalise(pixels, rule).flatten()

    torch.testing.assert_close(values, torch.tensor([-0.2, (128 / 255 - 0.2) / 0.25, 0.7 / 0.125]))


def test_trap_24_resizing_is_antialiased() -> None:
    stripes = np.zeros((64, 2048, 3), np.uint8)
    stripes[:, ::2] = 255

    item = network_input(Image.fromarray(stripes), spec())

    assert (item.pixels[0, 4, 8:-8].float() - 127.5).abs().max() < 3
