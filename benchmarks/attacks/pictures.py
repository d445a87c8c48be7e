"""Send pictures that claim to be, or become, more than they are."""

from __future__ import annotations

import asyncio
import gzip
import random
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping
from functools import cache, partial
from io import BytesIO

from PIL import Image

from benchmarks.attacks.slow import MOST_BYTES, SIDE, SLOW, chunk
from benchmarks.attacks.target import Attack, Target, posting
from tests.faults.clients import picture
from tests.faults.corpus import corpus
from tests.service.fakes import encode

_ANY = "application/octet-stream"
_START = b"\x89PNG\r\n\x1a\n"
_SMALL = chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 8, 2, 0, 0, 0))
_PIXELS = zlib.compress((b"\0" + bytes(24)) * 8)
_END = chunk(b"IDAT", _PIXELS) + chunk(b"IEND", b"")


def attacks() -> list[Attack]:
    """Give all of them, those that keep a decoder busy last."""
    odd = [posting(name.replace("WEBP", "WebP"), "", partial(_odd_file, name), Content_Type=_ANY) for name in _ODD]
    bombs = [posting(name, sent, make, Content_Type=_ANY) for name, (sent, make) in _BOMBS.items()]
    slow = [
        Attack(f"{kind}, slow to decode", "the slowest known, two at once", _send_two, partial(make, 1.0))
        for kind, make in SLOW.items()
    ]
    zipped = posting(
        "body in gzip", "1 GB of zeros", lambda: gzip.compress(bytes(10**9)), Content_Type=_ANY, Content_Encoding="gzip"
    )
    outlined = posting(
        "noise as outlines", "1 MP, to a model that sees every pixel", _noise,
        path="/segment?model=native&format=geojson",
    )  # fmt: skip
    return [*odd, *bombs, zipped, outlined, *slow]


async def _send_two(target: Target, content: bytes) -> str:
    """Give each codec thread one, and send a good picture meanwhile."""
    both = [asyncio.create_task(target.post(content, Content_Type=_ANY)) for _ in range(2)]
    await asyncio.sleep(1)
    good = await target.post(picture(7))
    return f"{'; '.join([await one for one in both])}; a good request beside them: {good}"


def _odd_file(name: str) -> bytes:
    return _odd_files()[name]


@cache
def _odd_files() -> Mapping[str, bytes]:
    return {file.name: file.content for file in corpus()}


def _largest_png() -> bytes:
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", SIDE, SIDE, 16, 6, 0, 0, 0))
    return _START + head + chunk(b"IDAT", zlib.compress(bytes((1 + 8 * SIDE) * SIDE), 9)) + chunk(b"IEND", b"")


def _largest(kind: str, mode: str, **options: object) -> bytes:
    return encode(Image.new(mode, (SIDE, SIDE)), kind, **options)


def _noise() -> bytes:
    return encode(Image.frombytes("RGB", (1000, 1000), random.Random(0).randbytes(3 * 10**6)))  # noqa: S311  # no secret


def _many_scans() -> bytes:
    data = encode(Image.new("L", (64, 64), 128), "JPEG", progressive=True)
    return data[:-2] + data[data.rindex(b"\xff\xda") : -2] * 50_000 + data[-2:]


def _long_exif() -> bytes:
    data = encode(Image.new("RGB", (64, 64)), "JPEG")
    segment = b"\xff\xe1\xff\xff" + b"Exif\0\0" + b"MM\0*".ljust(65_527, b"\0")
    return data[:2] + segment * (MOST_BYTES // len(segment)) + data[2:]


def _many_chunks() -> bytes:
    return _START + _SMALL + chunk(b"aaaa", b"") * ((MOST_BYTES - 200) // 12) + _END


def _many_png_frames(number: int = 100_000) -> bytes:
    control = struct.pack(">IIIIHHBB", 8, 8, 0, 0, 1, 100, 0, 0)
    frames = (
        chunk(b"fcTL", struct.pack(">I", 2 * index + 1) + control)
        + chunk(b"fdAT", struct.pack(">I", 2 * index + 2) + _PIXELS)
        for index in range(number)
    )
    first = chunk(b"acTL", struct.pack(">II", number + 1, 0)) + chunk(b"fcTL", struct.pack(">I", 0) + control)
    return _START + _SMALL + first + chunk(b"IDAT", _PIXELS) + b"".join(frames) + chunk(b"IEND", b"")


def _many_frames(kind: str, number: int = 2000) -> bytes:
    frames = [Image.new("RGB", (8, 8), (index % 256, index // 256, 0)) for index in range(number)]
    return encode(frames[0], kind, save_all=True, append_images=frames[1:])


def _tiff(tags: Mapping[int, tuple[int, int, int]], behind: bytes) -> bytes:
    directory = b"".join(struct.pack("<HHII", tag, *entry) for tag, entry in sorted(tags.items()))
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + directory + bytes(4) + behind


def _shared_tags() -> bytes:
    """Let 2000 tags have the same value of 30 MB."""
    size = 30_000_000
    return _tiff(
        {256: (4, 1, 8), 257: (4, 1, 8), **{40_000 + index: (1, size, 100) for index in range(2000)}}, bytes(size)
    )


def _huge_tiles() -> bytes:
    tags = {256: 8, 257: 8, 258: 8, 259: 1, 262: 1, 277: 1, 322: 100_000, 323: 100_000, 324: 8, 325: 64}
    return _tiff({tag: (4, 1, value) for tag, value in tags.items()}, bytes(68))


def _zip() -> bytes:
    output = BytesIO()
    with zipfile.ZipFile(output, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a", bytes(10**9))
    return output.getvalue()


def _laughs() -> bytes:
    entities = "".join(f'<!ENTITY a{index + 1} "{f"&a{index};" * 10}">' for index in range(9))
    return f'<svg xmlns="a"/><!DOCTYPE svg [<!ENTITY a0 "ha">{entities}]><svg>&a9;</svg>'.encode()


_ODD = (
    *(f"{kind} that claims to be huge" for kind in ("PNG", "JPEG", "WEBP", "WEBP without loss", "BMP", "TIFF", "GIF")),
    "TIFF that claims huge strips", "TIFF that claims 60000 samples a pixel", "TIFF whose next page is its first",
    "PNG with text that inflates to 64 MiB", "PNG with a profile that inflates to 64 MiB",
)  # fmt: skip
"""What the tests have of this kind."""

_BOMBS: Mapping[str, tuple[str, Callable[[], bytes]]] = {
    "PNG of one colour": ("25 MP, 16 bits, alpha: as large as allowed", _largest_png),
    "JPEG of one colour": ("25 MP, progressive, CMYK", partial(_largest, "JPEG", "CMYK", progressive=True)),
    "WebP of one colour": ("25 MP, without loss, alpha", partial(_largest, "WEBP", "RGBA", lossless=True)),
    "TIFF of one colour": (
        "25 MP, deflate, alpha",
        partial(_largest, "TIFF", "RGBA", compression="tiff_adobe_deflate"),
    ),
    "JPEG of 50,000 scans": ("64x64 px", _many_scans),
    "JPEG with EXIF in 500 segments": ("64x64 px", _long_exif),
    "PNG of 2.8 million chunks": ("8x8 px, all empty and unknown", _many_chunks),
    "PNG of 100,000 frames": ("8x8 px", _many_png_frames),
    "WebP of 2000 frames": ("8x8 px", partial(_many_frames, "WEBP")),
    "GIF of 2000 frames": ("8x8 px", partial(_many_frames, "GIF")),
    "TIFF of 2000 pages": ("8x8 px", partial(_many_frames, "TIFF")),
    "TIFF whose tags share 30 MB": ("2000 tags, 60 GB in all", _shared_tags),
    "TIFF with huge tiles": ("8x8 px in a tile of 100000x100000", _huge_tiles),
    "zip for a picture": ("1 GB of zeros", _zip),
    "SVG for a picture": ("a billion laughs", _laughs),
}
