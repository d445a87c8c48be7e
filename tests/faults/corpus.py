"""Generate broken and odd images, always the same ones."""

from __future__ import annotations

import random
import struct
import time
import warnings
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from PIL import Image, ImageCms, PngImagePlugin

from tests.service.fakes import encode, noisy_image

MEDIA_TYPES = {"JPEG": "image/jpeg", "PNG": "image/png", "WEBP": "image/webp", "BMP": "image/bmp", "TIFF": "image/tiff"}
HUGE = 60_000
NUM_FLIPPED = 20

_UNDATED = {"PDF": {"creationDate": time.gmtime(0), "modDate": time.gmtime(0)}}


@dataclass(frozen=True, slots=True)
class OddFile:
    """Hold bytes that a client may send, and the content type that it gives them."""

    name: str
    content: bytes
    media_type: str


def corpus() -> Iterator[OddFile]:
    """Give all files, some hundred."""
    with warnings.catch_warnings(category=DeprecationWarning, action="ignore"):  # some formats will be dropped
        whole = dict(_every_format())
    for name, content in whole.items():
        yield OddFile(f"{name} whole", content, MEDIA_TYPES.get(name, "image/png"))
        yield OddFile(f"{name} with a wrong type", content, "image/bmp" if name != "BMP" else "image/webp")
        yield from _truncated(name, content)
    for name in (*MEDIA_TYPES, "GIF"):
        yield from _flipped(name, whole[name])
    for name, content in (*_odd_shapes(), *_odd_modes(), *_odd_metadata(), *_several_frames(), *_lies(whole)):
        kind = name.split()[0]
        yield OddFile(name, content, MEDIA_TYPES.get(kind, "image/png"))
    for name, content in {
        "nothing": b"",
        "text": b"hello\n" * 50,
        "zeros": bytes(5000),
        "signature": b"\xff\xd8\xff",
    }.items():
        yield from (OddFile(f"{name} as {media_type}", content, media_type) for media_type in MEDIA_TYPES.values())


def _every_format() -> Iterator[tuple[str, bytes]]:
    """Write an image in every format that this Pillow can write, in the first mode that the format takes."""
    Image.init()
    picture = noisy_image()
    for kind in sorted(Image.SAVE):
        for mode in ("RGB", "L", "1", "F"):
            try:
                yield kind, encode(picture.convert(mode), kind, **_UNDATED.get(kind, {}))
            except (OSError, ValueError, KeyError):  # not with this mode, or not without another program
                continue
            break


def _truncated(name: str, content: bytes) -> Iterator[OddFile]:
    for percent in range(5, 100, 5):
        part = content[: len(content) * percent // 100]
        yield OddFile(f"{name} cut at {percent} %", part, MEDIA_TYPES.get(name, "image/png"))


def _flipped(name: str, content: bytes) -> Iterator[OddFile]:
    choices = random.Random(name)  # noqa: S311  # no secret
    for index in range(NUM_FLIPPED):
        damaged = bytearray(content)
        span = len(content) if index % 2 else min(len(content), 100)  # every other time in the header
        for _ in range(1 + index // 4):
            damaged[choices.randrange(span)] ^= 1 << choices.randrange(8)
        yield OddFile(f"{name} flipped {index}", bytes(damaged), MEDIA_TYPES.get(name, "image/png"))


def _odd_shapes() -> Iterator[tuple[str, bytes]]:
    for kind in MEDIA_TYPES:
        for size in ((1, 1), (1, 16_000), (16_000, 1), (1, 20_000), (20_000, 1)):
            if kind != "WEBP" or max(size) <= 16_383:
                yield f"{kind} of {size[0]}x{size[1]}", encode(Image.new("RGB", size, "teal"), kind)


def _odd_modes() -> Iterator[tuple[str, bytes]]:
    picture = noisy_image()
    sixteen = Image.frombytes("I;16", (64, 48), random.Random(0).randbytes(2 * 64 * 48))  # noqa: S311  # no secret
    yield "PNG of 16 bits", encode(sixteen, "PNG")
    yield "TIFF of 16 bits", encode(sixteen, "TIFF")
    yield "TIFF of 32 bits", encode(picture.convert("I"), "TIFF")
    yield "TIFF of floats", encode(picture.convert("F"), "TIFF")
    yield "TIFF of Lab", encode(Image.new("LAB", (40, 30)), "TIFF")
    for kind in ("JPEG", "TIFF"):
        yield f"{kind} of CMYK", encode(picture.convert("CMYK"), kind)
    for kind in ("PNG", "BMP", "TIFF"):
        yield f"{kind} of 1 bit", encode(picture.convert("1"), kind)
    palette = picture.convert("P")
    for kind in ("PNG", "BMP", "TIFF", "GIF"):
        yield f"{kind} with a palette", encode(palette, kind)
    yield "PNG with a transparent colour of its palette", encode(palette, "PNG", transparency=3)
    yield "PNG with alphas of its palette", encode(palette, "PNG", transparency=bytes(range(256)))
    yield "PNG with a transparent grey", encode(picture.convert("L"), "PNG", transparency=7)
    for kind in ("PNG", "WEBP", "TIFF"):
        yield f"{kind} with alpha", encode(picture.convert("RGBA"), kind)
    yield "PNG of grey with alpha", encode(picture.convert("LA"), "PNG")
    yield "PNG interlaced", _interlaced_png()
    yield "JPEG progressive", encode(picture, "JPEG", progressive=True)
    for compression in ("tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg"):
        yield f"TIFF with {compression}", encode(picture, "TIFF", compression=compression)


def _odd_metadata() -> Iterator[tuple[str, bytes]]:
    picture = noisy_image()
    profile = _color_profile()
    for kind in ("JPEG", "PNG", "WEBP", "TIFF"):
        yield f"{kind} with a colour profile", encode(picture, kind, icc_profile=profile)
        yield f"{kind} with half a colour profile", encode(picture, kind, icc_profile=profile[: len(profile) // 2])
    for orientation in (*range(10), 65_535):
        exif = Image.Exif()
        exif[0x0112] = orientation
        yield f"JPEG with orientation {orientation}", encode(picture, "JPEG", exif=exif)
    rubbish = random.Random(1).randbytes(300)  # noqa: S311  # no secret
    for kind in ("JPEG", "PNG", "WEBP"):
        yield f"{kind} with rubbish for EXIF", encode(picture, kind, exif=b"Exif\0\0" + rubbish)
        yield (
            f"{kind} with EXIF that points behind its end",
            encode(picture, kind, exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x04\xff\xff\xff\xff\xff\xff\xff\xff"),
        )
    bomb = zlib.compress(bytes(64 << 20), 9)
    plain = encode(picture, "PNG")
    yield "PNG with text that inflates to 64 MiB", _insert_chunk(plain, b"zTXt", b"Comment\0\0" + bomb)
    yield "PNG with a profile that inflates to 64 MiB", _insert_chunk(plain, b"iCCP", b"icc\0\0" + bomb)
    text = PngImagePlugin.PngInfo()
    text.add_itxt("Comment", "\u202e\0" * 100, zip=True)
    yield "PNG with strange text", encode(picture, "PNG", pnginfo=text)


def _color_profile() -> bytes:
    dated = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return dated[:24] + bytes(12) + dated[36:]  # when it was made


def _several_frames() -> Iterator[tuple[str, bytes]]:
    frames = [noisy_image(seed=seed) for seed in range(4)]
    for kind in ("GIF", "PNG", "WEBP", "TIFF"):
        yield f"{kind} of four frames", encode(frames[0], kind, save_all=True, append_images=frames[1:])
    endless = encode(frames[0], "TIFF")
    (first,) = struct.unpack("<I", endless[4:8])
    (num_tags,) = struct.unpack("<H", endless[first : first + 2])
    end = first + 2 + 12 * num_tags
    yield "TIFF whose next page is its first", endless[:end] + struct.pack("<I", first) + endless[end + 4 :]


def _lies(whole: dict[str, bytes]) -> Iterator[tuple[str, bytes]]:
    """Give images whose headers tell of 60000x60000 pixels that are not there."""
    side = struct.pack(">I", HUGE)
    png = whole["PNG"]
    header = b"IHDR" + side + side + png[24:29]
    yield "PNG that claims to be huge", png[:12] + header + struct.pack(">I", zlib.crc32(header)) + png[33:]
    bmp = whole["BMP"]
    for name, height in (("huge", HUGE), ("huge and upside down", -HUGE), ("endless", -(1 << 31))):
        yield f"BMP that claims to be {name}", bmp[:18] + struct.pack("<ii", HUGE, height) + bmp[26:]
    gif = whole["GIF"]
    yield "GIF that claims to be huge", gif[:6] + struct.pack("<HH", HUGE, HUGE) + gif[10:]
    jpeg = whole["JPEG"]
    frame = jpeg.index(b"\xff\xc0") + 5
    yield "JPEG that claims to be huge", jpeg[:frame] + struct.pack(">HH", HUGE, HUGE) + jpeg[frame + 4 :]
    yield "WEBP that claims to be huge", _huge_webp()
    lossless = encode(noisy_image(), "WEBP", lossless=True)
    start = lossless.index(b"VP8L") + 9
    yield "WEBP without loss that claims to be huge", lossless[:start] + b"\xff\xff\xff\x0f" + lossless[start + 4 :]
    yield from (("TIFF that claims " + name, content) for name, content in _huge_tiffs(whole["TIFF"]))


def _huge_webp() -> bytes:
    extended = encode(noisy_image(), "WEBP", icc_profile=b"x" * 200)
    start = extended.index(b"VP8X") + 12
    side = (HUGE - 1).to_bytes(3, "little")
    return extended[:start] + side + side + extended[start + 6 :]


def _huge_tiffs(plain: bytes) -> Iterator[tuple[str, bytes]]:
    """Change numbers of a TIFF's first page: its sides, its rows a strip, its samples a pixel."""
    for name, tags in {
        "to be huge": {256: HUGE, 257: HUGE},
        "huge strips": {278: 0xFFFF_FFFF},
        "60000 samples a pixel": {277: HUGE},
    }.items():
        changed = bytearray(plain)
        (first,) = struct.unpack("<I", plain[4:8])
        (num_tags,) = struct.unpack("<H", plain[first : first + 2])
        for entry in range(first + 2, first + 2 + 12 * num_tags, 12):
            (tag,) = struct.unpack("<H", plain[entry : entry + 2])
            if tag in tags:
                changed[entry + 2 : entry + 12] = struct.pack("<HII", 4, 1, tags[tag])
        yield name, bytes(changed)


def _interlaced_png() -> bytes:
    """Write a grey Adam7 PNG, which Pillow cannot: one filter byte before each line of each pass."""
    passes = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
    picture = noisy_image((16, 16)).convert("L")
    lines = bytearray()
    for left, top, across, down in passes:
        for y in range(top, 16, down):
            lines += b"\0" + bytes(int(str(picture.getpixel((x, y)))) for x in range(left, 16, across))
    header = struct.pack(">IIBBBBB", 16, 16, 8, 0, 0, 0, 1)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(lines))), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, payload) for kind, payload in chunks)


def _insert_chunk(png: bytes, kind: bytes, payload: bytes) -> bytes:
    return png[:33] + _chunk(kind, payload) + png[33:]


def _chunk(kind: bytes, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload)) + kind + payload + struct.pack(">I", zlib.crc32(kind + payload))
