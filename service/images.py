"""Turn bytes that nobody has checked into an upright RGB image, within limits."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from io import BytesIO
from itertools import islice

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.BmpImagePlugin import BmpImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from model_zoo.preprocess import UnsupportedMode, upright_rgb
from service.errors import ImageTooLarge, OutOfMemory, ServiceError, UnreadableImage, UnsupportedImage

MEDIA_TYPES = ("image/jpeg", "image/png", "image/webp", "image/bmp", "image/tiff")

_DECODERS: Mapping[str, Callable[[BytesIO], ImageFile]] = {
    "JPEG": JpegImageFile,
    "PNG": PngImageFile,
    "WebP": WebPImageFile,
    "BMP": BmpImageFile,
    "TIFF": TiffImageFile,
}
_READ = ", ".join(_DECODERS)
_SIGNATURES: tuple[tuple[int, bytes, str], ...] = (
    (0, b"\xff\xd8\xff", "JPEG"),
    (0, b"\x89PNG\r\n\x1a\n", "PNG"),
    (8, b"WEBP", "WebP"),
    (0, b"BM", "BMP"),
    (0, b"II*\0", "TIFF"),
    (0, b"MM\0*", "TIFF"),
    (0, b"II+\0", "TIFF"),
    (0, b"MM\0+", "TIFF"),
    (0, b"GIF8", "GIF"),
    (4, b"ftypavif", "AVIF"),
    (4, b"ftypheic", "HEIC"),
    (4, b"ftypmif1", "HEIF"),
    (0, b"\0\0\0\x0cjP  ", "JPEG 2000"),
    (0, b"\xff\x4f\xff\x51", "JPEG 2000"),
    (0, b"\xff\x0a", "JPEG XL"),
    (0, b"\0\0\x01\0", "ICO"),
    (0, b"8BPS", "Photoshop"),
    (0, b"%PDF", "PDF"),
    (0, b"<svg", "SVG"),
)
_MOST_SCANS = 50  # each goes over the whole image, however few its bytes; progressive files have about ten
_MOST_SEGMENTS = 10_000  # each is read by Python
_MOST_TILES = 100_000  # 25 million pixels in tiles of 16x16; each has a decoder of its own
_ARITHMETIC = frozenset({b"\xc9", b"\xca", b"\xcb", b"\xcd", b"\xce", b"\xcf"})  # a scan of 100 bytes fills any image
_JPEG_MARKER = re.compile(rb"\xff([\xc0-\xcf\xd9-\xfe])")  # those that a length follows, and the end of the image


@dataclass(frozen=True, slots=True)
class Pixels:
    """Hold an image that came as numbers: upright RGB, uint8 ``[H, W, 3]``."""

    values: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """Hold the largest image that is decoded, the seconds for it, and the most probabilities that are answered."""

    max_pixels: int
    max_side: int
    max_probability_values: int = 1 << 25
    max_seconds: float = math.inf


def decode_image(
    data: bytes | Pixels, limits: ImageLimits, *, on_size: Callable[[int], None] = lambda _: None
) -> Image.Image:
    """Decode the first frame of an image; its bytes choose the decoder, and its header is checked before its pixels.

    ``on_size`` hears how many pixels there are before they are decoded; an error that it raises is raised here.

    Raises:
        UnreadableImage: The bytes are no image, a broken one, or one that keeps its decoder busy for too long.
        UnsupportedImage: It is an image of a kind that is not read.
        ImageTooLarge: It has more pixels than the limits allow.
    """
    if isinstance(data, Pixels):
        height, width = data.values.shape[:2]
        _check_size((width, height), limits)
        on_size(width * height)
        return Image.fromarray(data.values)
    kind = _recognise(data)
    try:
        if kind == "JPEG":
            _check_work(data)
        if kind == "WebP":
            _check_size(_webp_size(data), limits)  # its decoder allocates the canvas when it is opened
        # The decoder itself, not Image.open: that has a limit of its own, in a global, which warns before it refuses.
        image = _DECODERS[kind](_TimedBytes(data, limits.max_seconds))
        _check_size(image.size, limits)
        if isinstance(image, TiffImageFile):
            _check_size(_tile_size(image), limits)
            _check_tiles(image, data)
        on_size(image.width * image.height)
        image.load()
        return upright_rgb(image)
    except UnsupportedMode as error:
        raise UnsupportedImage(f"pixels of this {kind} cannot be read as colours") from error
    except MemoryError as error:
        raise OutOfMemory("the service has not enough memory for this image now") from error
    except ServiceError:
        raise
    except Exception as error:  # decoders fail on broken bytes in many ways; the client hears of it
        raise UnreadableImage(f"this {kind} is damaged or cut short ({len(data)} bytes)") from error


class _TimedBytes(BytesIO):
    """Let a decoder read for so many seconds; those that Pillow drives ask for a piece after the other."""

    def __init__(self, data: bytes, seconds: float) -> None:
        super().__init__(data)
        self._seconds = seconds
        self._until = time.monotonic() + seconds

    def read(self, size: int | None = -1, /) -> bytes:
        if time.monotonic() > self._until:
            raise UnreadableImage(f"the image had not been decoded after {self._seconds:g} s (decode_timeout)")
        return super().read(size)


def check_probabilities(num_classes: int, size: tuple[int, int], limits: ImageLimits) -> None:
    """Do nothing if the probabilities of a mask of ``size``, ``(H, W)``, may be answered.

    Raises:
        ImageTooLarge: They are too many.
    """
    height, width = size
    if num_classes * height * width > limits.max_probability_values:
        most = f"at most {limits.max_probability_values} (max_probability_values); size=network makes them fewer"
        raise ImageTooLarge(f"the probabilities of {num_classes} classes at {width}x{height} px are too many, {most}")


def _recognise(data: bytes) -> str:
    if not data:
        raise UnreadableImage("the image is empty (0 bytes)")
    kind = next((kind for start, magic, kind in _SIGNATURES if data.startswith(magic, start)), None)
    if kind is None or (kind == "WebP" and not data.startswith(b"RIFF")):
        raise UnreadableImage(f"the {len(data)} bytes are not an image; read are {_READ}")
    if kind not in _DECODERS:
        raise UnsupportedImage(f"this is {kind}; read are {_READ}")
    return kind


def _check_size(size: tuple[int, int], limits: ImageLimits) -> None:
    width, height = size
    if max(size) > limits.max_side:
        raise ImageTooLarge(f"image is {width}x{height} px, at most {limits.max_side} on a side (max_image_side)")
    if width * height > limits.max_pixels:
        limit = f"at most {limits.max_pixels} pixels (max_image_pixels)"
        raise ImageTooLarge(f"image is {width}x{height} px = {width * height}, {limit}")


def _webp_size(data: bytes) -> tuple[int, int]:
    """Read ``(width, height)`` from the first chunk of a WebP, by the container's specification (RFC 9649)."""
    chunk, payload = data[12:16], data[20:30]
    if len(payload) < 10 or chunk not in (b"VP8X", b"VP8L", b"VP8 "):
        raise ValueError("no WebP header")
    if chunk == b"VP8X":
        return 1 + int.from_bytes(payload[4:7], "little"), 1 + int.from_bytes(payload[7:10], "little")
    if chunk == b"VP8L":
        bits = int.from_bytes(payload[1:5], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    return int.from_bytes(payload[6:8], "little") & 0x3FFF, int.from_bytes(payload[8:10], "little") & 0x3FFF


def _tile_size(image: TiffImageFile) -> tuple[int, int]:
    """Give the size of a TIFF's tiles: the decoder allocates one whole, however small the image is."""
    return int(image.tag_v2.get(322, 0)), int(image.tag_v2.get(323, 0))


def _check_tiles(image: TiffImageFile, data: bytes) -> None:
    """Refuse a TIFF whose strips or tiles are very many, share their bytes, or are JPEGs that take very long."""
    for starts, ends in ((273, 279), (324, 325)):  # where each strip, or tile, begins, and how many bytes it has
        offsets, lengths = _numbers_of(image, starts), _numbers_of(image, ends)
        if len(lengths) > _MOST_TILES:
            raise UnreadableImage(f"this TIFF has {len(lengths)} strips or tiles, at most {_MOST_TILES}")
        if sum(lengths) > len(data):
            raise ValueError("the strips or tiles have more bytes than the file")
        if image.tag_v2.get(259) in {6, 7}:  # each is a JPEG; of a single one, libtiff may read more than is told
            for offset, length in zip(offsets, lengths, strict=True):
                _check_work(data[offset : None if len(lengths) == 1 else offset + length])


def _numbers_of(image: TiffImageFile, tag: int) -> tuple[int, ...]:
    found = image.tag_v2.get(tag, ())
    return found if isinstance(found, tuple) else (found,)


def _check_work(data: bytes) -> None:
    """Refuse a JPEG that takes its decoder far longer than others of its size."""
    markers = list(islice(_jpeg_markers(data), _MOST_SEGMENTS + 1))
    if len(markers) > _MOST_SEGMENTS:
        raise UnreadableImage(f"this JPEG has more than {_MOST_SEGMENTS} segments")
    if not _ARITHMETIC.isdisjoint(markers):
        raise UnsupportedImage("this is a JPEG in arithmetic coding; read are those in Huffman's")
    num_scans = markers.count(b"\xda")
    if num_scans > _MOST_SCANS:
        raise UnreadableImage(f"this JPEG has {num_scans} scans, at most {_MOST_SCANS}")


def _jpeg_markers(data: bytes) -> Iterator[bytes]:
    """Give the markers of a JPEG up to its end: what cameras hang behind it, such as a film, may hold any bytes."""
    position = 0
    while (found := _JPEG_MARKER.search(data, position)) and found[1] != b"\xd9":
        yield found[1]
        position = found.end() + int.from_bytes(data[found.end() : found.end() + 2], "big")
