import struct
import zlib
from contextlib import suppress
from io import BytesIO
from itertools import count

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from service.errors import ImageTooLarge, UnreadableImage, UnsupportedImage
from service.images import ImageLimits, decode_image
from tests.service.fakes import encode, noisy_image

LIMITS = ImageLimits(max_pixels=1_000_000, max_side=3000)
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF")

# Pillow warns of odd metadata; tests make warnings errors, a server makes them lines of its log.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")


def noise(size: tuple[int, int]) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8))


def lossless(image: Image.Image, kind: str) -> bytes:
    options: dict[str, dict[str, object]] = {"JPEG": {"quality": 100, "subsampling": 0}, "WEBP": {"lossless": True}}
    return encode(image, kind, **options.get(kind, {}))


def check_refused_or_read(data: bytes) -> None:
    """Decode; any failure but an error for the client fails the test."""
    with suppress(UnreadableImage, UnsupportedImage, ImageTooLarge):
        assert decode_image(data, LIMITS).mode == "RGB"


@pytest.mark.parametrize("kind", FORMATS)
def test_each_format_is_read(kind: str) -> None:
    image = noisy_image()

    decoded = decode_image(lossless(image, kind), LIMITS)

    assert decoded.mode == "RGB"
    assert decoded.size == image.size
    difference = np.abs(np.asarray(decoded, dtype=int) - np.asarray(image, dtype=int))
    assert difference.mean() < 2


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "I;16"])
def test_each_mode_becomes_rgb(mode: str) -> None:
    sixteen_bits = Image.fromarray(np.full((9, 7), 40_000, np.uint16))
    image = sixteen_bits if mode == "I;16" else noisy_image((7, 9)).convert(mode)

    decoded = decode_image(encode(image, "TIFF"), LIMITS)

    assert (decoded.mode, decoded.size) == ("RGB", (7, 9))


def test_transparency_of_a_palette_lies_on_white() -> None:
    image = Image.new("P", (8, 8))
    image.putpalette([10, 20, 30])

    decoded = decode_image(encode(image, transparency=0), LIMITS)

    assert decoded.getpixel((0, 0)) == (255, 255, 255)


def progressive(*, repeats: int) -> bytes:
    """Make a progressive JPEG whose last scan, of a few bytes, is repeated."""
    data = encode(Image.new("L", (64, 64), 128), "JPEG", progressive=True)
    return data[:-2] + data[data.rindex(b"\xff\xda") : -2] * repeats + data[-2:]


def test_a_jpeg_of_very_many_scans_is_refused_before_it_is_decoded() -> None:
    scans = progressive(repeats=0).count(b"\xff\xda")

    with pytest.raises(UnreadableImage, match=f"this JPEG has {scans + 700} scans, at most 50"):
        decode_image(progressive(repeats=700), LIMITS)


def test_a_jpeg_of_very_many_segments_is_refused_before_it_is_opened() -> None:
    data = encode(noisy_image(), "JPEG")

    with pytest.raises(UnreadableImage, match="this JPEG has more than 10000 segments"):
        decode_image(data[:2] + b"\xff\xfe\0\2" * 10_001 + data[2:], LIMITS)


@pytest.mark.parametrize("repeats", [0, 30])
def test_a_progressive_jpeg_is_read(repeats: int) -> None:
    assert decode_image(progressive(repeats=repeats), LIMITS).size == (64, 64)


def test_what_hangs_behind_a_jpeg_or_lies_in_its_metadata_is_no_scan() -> None:
    noise = b"\xff\xda" * 100
    data = encode(noisy_image(), "JPEG", comment=noise) + noise

    assert decode_image(data, LIMITS).size == noisy_image().size


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_exif_orientation_is_applied(kind: str, orientation: int) -> None:
    upright = Image.new("RGB", (32, 16), "black")
    upright.paste("white", (0, 0, 16, 8))  # the mark is at the top left
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = upright.transpose(undo[orientation]) if orientation in undo else upright
    exif = Image.Exif()
    exif[0x0112] = orientation

    decoded = decode_image(encode(stored, kind, exif=exif), LIMITS)

    assert decoded.size == (32, 16)
    means = [np.asarray(decoded.crop(box)).mean() for box in ((0, 0, 16, 8), (16, 0, 32, 8), (0, 8, 32, 16))]
    assert means[0] > 200
    assert max(means[1:]) < 50


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_of_an_animation_the_first_frame_is_read(kind: str) -> None:
    frames = [Image.new("RGB", (16, 16), color) for color in ("red", "blue")]

    data = encode(
        frames[0], kind, save_all=True, append_images=frames[1:], **({"lossless": True} if kind == "WEBP" else {})
    )

    assert decode_image(data, LIMITS).getpixel((8, 8)) == (255, 0, 0)


@pytest.mark.parametrize("size", [(1, 1), (1, 3000), (3000, 1)])
@pytest.mark.parametrize("kind", FORMATS)
def test_images_of_extreme_shape_are_read(kind: str, size: tuple[int, int]) -> None:
    assert decode_image(encode(Image.new("RGB", size), kind), LIMITS).size == size


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP"])
def test_decoding_ends_when_its_time_is_up(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.images.time.monotonic", count().__next__)  # a second between two looks at the clock
    patient, hasty = ImageLimits(1_000_000, 3000, max_seconds=1000), ImageLimits(1_000_000, 3000, max_seconds=40)
    quick, slow = lossless(noise((10, 10)), kind), lossless(noise((1000, 1000)), kind)

    assert decode_image(quick, hasty).size == (10, 10)
    assert decode_image(slow, patient).size == (1000, 1000)
    with pytest.raises(UnreadableImage, match=r"had not been decoded after 40 s \(decode_timeout\)"):
        decode_image(slow, hasty)


def test_nothing_is_no_image() -> None:
    with pytest.raises(UnreadableImage, match=r"empty \(0 bytes\)"):
        decode_image(b"", LIMITS)


@pytest.mark.parametrize("data", [b"hello", b"\0" * 100, b"RIFF1234AVI ", b"1234WEBP" * 4])
def test_what_is_no_image_is_unreadable(data: bytes) -> None:
    with pytest.raises(UnreadableImage):
        decode_image(data, LIMITS)


@pytest.mark.parametrize(("kind", "named"), [("GIF", "GIF"), ("ICO", "ICO"), ("JPEG2000", "JPEG 2000")])
def test_other_kinds_of_image_are_unsupported(kind: str, named: str) -> None:
    with pytest.raises(UnsupportedImage, match=f"this is {named}; read are JPEG, PNG, WebP, BMP, TIFF"):
        decode_image(encode(noisy_image((32, 32)), kind), LIMITS)


def test_pixels_that_are_no_colours_are_unsupported() -> None:
    with pytest.raises(UnsupportedImage):
        decode_image(encode(Image.new("F", (8, 8)), "TIFF"), LIMITS)


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("size", [(1001, 1000), (3001, 1)])
def test_a_large_image_is_refused_with_its_size_and_the_limit(kind: str, size: tuple[int, int]) -> None:
    width, height = size

    with pytest.raises(ImageTooLarge, match=f"image is {width}x{height} px.*at most (1000000|3000)"):
        decode_image(encode(Image.new("RGB", size), kind), LIMITS)


def test_a_png_bomb_is_refused_by_its_header() -> None:
    header = struct.pack(">IIBBBBB", 2**31 - 1, 2**31 - 1, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + header
    bomb = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))

    with pytest.raises(ImageTooLarge):
        decode_image(bomb + b"\0\0\0\0IDAT\x35\xaf\x06\x1e", LIMITS)


@pytest.mark.parametrize(
    "chunk",
    [
        b"VP8X\x0a\0\0\0" + bytes(4) + b"\xff\x3f\0" * 2,
        b"VP8L\x0a\0\0\0\x2f" + struct.pack("<I", 0x3FFF | 0x3FFF << 14) + bytes(10),
        b"VP8 \x0a\0\0\0\x10\0\0\x9d\x01\x2a\xff\x3f\xff\x3f" + bytes(10),
    ],
)
def test_a_webp_bomb_is_refused_before_its_canvas_is_allocated(chunk: bytes) -> None:
    bomb = b"RIFF" + struct.pack("<I", len(chunk) + 4) + b"WEBP" + chunk

    with pytest.raises(ImageTooLarge, match=r"image is 1638[34]x1638[34] px"):
        decode_image(bomb, LIMITS)


def test_a_tiff_with_a_huge_tile_is_refused() -> None:
    tags = {256: 8, 257: 8, 258: 8, 259: 1, 262: 1, 277: 1, 322: 100_000, 323: 100_000, 324: 8, 325: 64}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    data = b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(68)

    with pytest.raises(ImageTooLarge, match="100000x100000"):
        decode_image(data, LIMITS)


def test_a_jpeg_in_arithmetic_coding_is_refused_for_a_hundred_bytes_of_it_fill_any_image() -> None:
    data = lossless(noisy_image(), "JPEG").replace(b"\xff\xc0", b"\xff\xc9", 1)

    with pytest.raises(UnsupportedImage, match="this is a JPEG in arithmetic coding"):
        decode_image(data, LIMITS)


def test_so_is_a_tiff_that_holds_such_a_jpeg() -> None:
    data = encode(noisy_image(), "TIFF", compression="jpeg")

    assert decode_image(data, LIMITS).size == noisy_image().size
    with pytest.raises(UnsupportedImage, match="arithmetic coding"):
        decode_image(data.replace(b"\xff\xc0", b"\xff\xc9", 1), LIMITS)


def tiff(*, height: int, num_strips: int, length: int) -> bytes:
    """Make a TIFF of one column whose strips all lie at the same place."""
    behind = 8 + 2 + 12 * 10 + 4
    tags = {256: 1, 257: height, 258: 8, 259: 1, 262: 1, 273: behind, 277: 1, 278: 1, 279: behind + 4 * num_strips}
    counts = {273: num_strips, 279: num_strips}
    entries = [struct.pack("<HHII", tag, 4, counts.get(tag, 1), value) for tag, value in tags.items()]
    entries.append(struct.pack("<HHII", 284, 4, 1, 1))
    lists = struct.pack(f"<{num_strips}I", *[8] * num_strips) + struct.pack(f"<{num_strips}I", *[length] * num_strips)
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + b"".join(entries) + bytes(4) + lists


def test_strips_of_a_tiff_may_lie_anywhere_but_not_share_all_their_bytes() -> None:
    assert decode_image(tiff(height=3, num_strips=3, length=1), LIMITS).size == (1, 3)
    with pytest.raises(UnreadableImage):
        decode_image(tiff(height=3, num_strips=3, length=100), LIMITS)
    with pytest.raises(UnreadableImage, match="this TIFF has 100001 strips or tiles, at most 100000"):
        decode_image(tiff(height=3, num_strips=100_001, length=1), LIMITS)


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("percent", range(5, 100, 5))
def test_a_truncated_image_is_refused_or_read(kind: str, percent: int) -> None:
    data = encode(noisy_image(), kind)

    check_refused_or_read(data[: len(data) * percent // 100])


@pytest.mark.parametrize("kind", FORMATS)
def test_half_an_image_is_unreadable(kind: str) -> None:
    data = encode(noisy_image(), kind)

    with pytest.raises(UnreadableImage, match=f"damaged or cut short .{len(data) // 2} bytes"):
        decode_image(data[: len(data) // 2], LIMITS)


@settings(max_examples=300, deadline=None)
@given(
    kind=st.sampled_from(FORMATS),
    flips=st.lists(st.tuples(st.floats(0, 1), st.integers(1, 255)), min_size=1, max_size=8),
)
def test_a_damaged_image_is_refused_or_read(kind: str, flips: list[tuple[float, int]]) -> None:
    data = bytearray(encode(noisy_image((24, 20)), kind))
    for position, bits in flips:
        data[int(position**2 * (len(data) - 1))] ^= bits

    check_refused_or_read(bytes(data))


@settings(max_examples=200, deadline=None)
@given(
    start=st.sampled_from([b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF\0\0\0\0WEBP", b"BM", b"II*\0", b"MM\0*"]),
    rest=st.binary(max_size=200),
)
def test_rubbish_behind_a_signature_is_refused(start: bytes, rest: bytes) -> None:
    check_refused_or_read(start + rest)


def test_decoding_leaves_the_bytes_as_they_are() -> None:
    data = encode(noisy_image())

    decode_image(data, LIMITS)

    assert Image.open(BytesIO(data)).size == (48, 40)
