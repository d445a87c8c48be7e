"""Make pictures within all limits that keep their decoder busy for as long as we know how to.

``part``, from 0 to 1, says how much of the work a picture shall make: it is proportional to the number of scans, tiles,
chunks, runs or groups. Every picture is whole, and decodes to one colour.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from benchmarks.attacks.arithmetic import constant_blocks

SIDE = 5000
"""Its square is ``max_image_pixels``."""

MOST_BYTES = (32 << 20) - 4096
MOST_SCANS = 50

_CODE_LENGTH_ORDER = (17, 18, 0, 1, 2, 3, 4, 5, 16, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)
_DEFLATE_ORDER = (16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1)
_MOST_GROUPS = 1 << 16


def jpeg(part: float) -> bytes:
    """Repeat an arithmetic-coded scan of four components, whose every coefficient is as costly as can be."""
    return _jpeg(0xC9, b"", constant_blocks(), max(1, round(part * (MOST_SCANS - 1))))


def huffman_jpeg(part: float) -> bytes:
    """Do the same in Huffman's code, in which every block takes at least some bits."""
    codes = (b"\0" + b"\1" + bytes(15) + b"\0", b"\x10" + b"\1" + bytes(15) + b"\xf0")  # a difference of 0; 16 zeros
    tables = b"".join(_segment(0xC4, code) for code in codes)
    data = bytes((SIDE // 8) ** 2 * 4 * 5 // 8 + 1)
    return _jpeg(0xC0, tables, data, max(1, round(part * (MOST_BYTES // len(data) - 1))))


def png(part: float) -> bytes:
    """Put as many colour profiles of a mebibyte before the pixels as there is room for."""
    profile = chunk(b"iCCP", b"i\0\0" + zlib.compress(bytes(1 << 20), 9))
    pixels = zlib.compress(bytes((1 + 8 * SIDE) * SIDE), 9)
    head = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", SIDE, SIDE, 16, 6, 0, 0, 0))
    tail = chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    return head + profile * round(part * (MOST_BYTES - len(head + tail)) // len(profile)) + tail


def webp(part: float) -> bytes:
    """Give every 4x4 pixels prefix codes of their own, 65536 sets with tables as large as can be."""
    groups = max(2, round(part * _MOST_GROUPS))
    side = 4 * int(np.ceil(groups**0.5))
    green, color = [1, *[12] * 1769, *[13] * 558], [1, 8, *[9] * 254]
    group = _prefix_code(green) + 3 * _prefix_code(color) + _simple_code(0, 1)
    eight = {index: f"{index:08b}" for index in range(256)}
    tiles = "".join(eight[index & 255] + eight[index >> 8] for index in range(groups))
    tiles += eight[0] * 2 * ((side // 4) ** 2 - groups)
    bits = [
        _bits(0x2F, 8), _bits(side - 1, 14), _bits(side - 1, 14), _bits(0, 4),  # signature, size, no alpha, version
        "0", "1", _bits(11, 4),  # no transform, a colour cache of 11 bits
        "1", _bits(0, 3), "0", _prefix_code([8] * 256 + [0] * 24), _prefix_code([8] * 256), _simple_code(0, 8) * 3,
        tiles, group * groups, "0000" * side * side,
    ]  # fmt: skip
    data = np.packbits(np.frombuffer("".join(bits).encode(), np.uint8) - ord("0"), bitorder="little").tobytes()
    data = b"VP8L" + struct.pack("<I", len(data)) + data + bytes(len(data) % 2)
    return b"RIFF" + struct.pack("<I", 4 + len(data)) + b"WEBP" + data


def tiff(part: float) -> bytes:
    """Let all tiles be one and the same mebibyte of compressed nothing; ``part`` is of its length."""
    return tiled_tiff(b"\x78\x9c" + empty_blocks(round(part * 1_000_000)) + zlib.compress(bytes(256), 9)[2:])


def tiled_tiff(data: bytes) -> bytes:
    """Write a grey TIFF whose tiles of 16x16 are all of this deflated data."""
    num_tiles, data = (-(-SIDE // 16)) ** 2, data + bytes(len(data) % 2)
    lists = struct.pack("<I", 8) * num_tiles + struct.pack("<I", len(data)) * num_tiles
    tables = 8 + len(data)
    return _tiff(data + lists, {
        258: (3, 1, 8), 259: (3, 1, 8), 262: (3, 1, 1), 277: (3, 1, 1),
        322: (4, 1, 16), 323: (4, 1, 16), 324: (4, num_tiles, tables), 325: (4, num_tiles, tables + 4 * num_tiles),
    })  # fmt: skip


def tiff_of_jpeg(part: float) -> bytes:
    """Put the slowest JPEG into a TIFF, as its only strip."""
    strip = jpeg(part)
    data = strip + bytes(len(strip) % 2)
    return _tiff(data + struct.pack("<4H", 8, 8, 8, 8), {
        258: (3, 4, 8 + len(data)), 259: (3, 1, 7), 262: (3, 1, 5), 277: (3, 1, 4),
        273: (4, 1, 8), 278: (4, 1, SIDE), 279: (4, 1, len(strip)),
    })  # fmt: skip


def bmp(part: float) -> bytes:
    """Fill rows byte by byte, and go on with runs behind the end of one, each a turn of a loop in Python."""
    row, whole_row = b"\2\1\0\0", b"\xff\1" * (-(-SIDE // 255))
    start = 14 + 40 + 1024
    room = MOST_BYTES - start - len(row) * SIDE - len(whole_row)
    runs = b"\1\1" * round(part * room / 2)
    body = row * round(part * (SIDE - 2)) + whole_row + runs + b"\0\0"
    body += (whole_row + b"\0\0") * (SIDE - 1 - round(part * (SIDE - 2)))
    head = struct.pack("<IHHI", start + len(body), 0, 0, start)
    return (
        b"BM" + head + struct.pack("<IiiHHIIiiII", 40, SIDE, SIDE, 1, 8, 1, len(body), 0, 0, 0, 0) + bytes(1024) + body
    )


SLOW: Mapping[str, Callable[[float], bytes]] = {
    "JPEG": jpeg, "JPEG without arithmetic": huffman_jpeg, "PNG": png, "WebP": webp, "TIFF": tiff,
    "TIFF of a JPEG": tiff_of_jpeg, "BMP": bmp,
}  # fmt: skip
"""The worst picture that we know of each kind."""


def empty_blocks(num_bytes: int) -> bytes:
    """Give deflate blocks (RFC 1951) that hold nothing but codes of their own, which take long to build."""
    lengths = "".join(_bits(int(symbol in {1, 18}), 3) for symbol in _DEFLATE_ORDER)
    literals = "0" + "1" + _bits(138 - 11, 7) + "1" + _bits(117 - 11, 7) + "0"  # 0 and 256 alone have a word, of a bit
    head = "0" + _bits(2, 2) + _bits(0, 5) + _bits(0, 5) + _bits(len(_DEFLATE_ORDER) - 4, 4)
    bits = head + lengths + literals + "0" + "1"  # one distance, and the end of the block
    block = np.packbits(np.frombuffer((8 * bits).encode(), np.uint8) - ord("0"), bitorder="little").tobytes()
    return block * (num_bytes // len(block))


def chunk(kind: bytes, payload: bytes) -> bytes:
    """Write a chunk of a PNG."""
    return struct.pack(">I", len(payload)) + kind + payload + struct.pack(">I", zlib.crc32(kind + payload))


def _tiff(data: bytes, tags: Mapping[int, tuple[int, int, int]]) -> bytes:
    """Write a TIFF with this data behind its head, and the tags, each with its type, count and value or place."""
    tags = dict(sorted({256: (4, 1, SIDE), 257: (4, 1, SIDE), **tags}.items()))
    directory = b"".join(struct.pack("<HHII", tag, *entry) for tag, entry in tags.items())
    return b"II*\0" + struct.pack("<I", 8 + len(data)) + data + struct.pack("<H", len(tags)) + directory + bytes(4)


def _jpeg(marker: int, tables: bytes, data: bytes, num_scans: int) -> bytes:
    """Write a JPEG of four components with these scans, and one before that makes the decoder keep what they hold."""
    components = range(1, 5)
    frame = struct.pack(">BHHB", 8, SIDE, SIDE, 4) + b"".join(bytes((index, 0x11, 0)) for index in components)

    def scan(*indices: int) -> bytes:
        head = bytes((len(indices), *(byte for index in indices for byte in (index, 0)), 0, 63, 0))
        return _segment(0xDA, head) + data

    head = b"\xff\xd8" + _segment(0xDB, b"\0" + b"\1" * 64) + _segment(marker, frame) + tables
    return head + scan(1) + scan(*components) * num_scans + b"\xff\xd9"


def _segment(marker: int, payload: bytes) -> bytes:
    return bytes((0xFF, marker)) + struct.pack(">H", 2 + len(payload)) + payload


def _bits(value: int, number: int) -> str:
    """Write a number, its lowest bit first."""
    return "".join(str(value >> place & 1) for place in range(number))


def _simple_code(symbol: int, number: int) -> str:
    """Write a prefix code of WebP for one symbol, which then takes no bits."""
    return "1" + "0" + str(number >> 3) + _bits(symbol, number)


def _prefix_code(lengths: Sequence[int]) -> str:
    """Write a prefix code of WebP by the lengths of its words."""
    turns = list(_runs(lengths))
    used = sorted({symbol for symbol, _ in turns})
    longest = max(1, (len(used) - 1).bit_length())
    words = {symbol: longest - (place < (1 << longest) - len(used)) for place, symbol in enumerate(used)}
    if len(used) == 1:
        words[next(symbol for symbol in range(16) if symbol not in used)] = 1
    codes = _canonical(words)
    last = max(4, 1 + max(_CODE_LENGTH_ORDER.index(symbol) for symbol in words))
    head = "0" + _bits(last - 4, 4) + "".join(_bits(words.get(symbol, 0), 3) for symbol in _CODE_LENGTH_ORDER[:last])
    return head + "0" + "".join(codes[symbol] + extra for symbol, extra in turns)


def _runs(lengths: Sequence[int]) -> Iterator[tuple[int, str]]:
    """Give the lengths as WebP writes them: each with what follows it, repeats by 16, zeros by 17 and 18."""
    place = 0
    while place < len(lengths):
        length, end = lengths[place], place
        while end < len(lengths) and lengths[end] == length:
            end += 1
        if length:
            yield length, ""
            place += 1
        while end - place >= 3:
            if length:
                turn, (symbol, least, number) = min(6, end - place), (16, 3, 2)
            elif end - place < 11:
                turn, (symbol, least, number) = end - place, (17, 3, 3)
            else:
                turn, (symbol, least, number) = min(138, end - place), (18, 11, 7)
            yield symbol, _bits(turn - least, number)
            place += turn
        for _ in range(place, end):
            yield length, ""
        place = end


def _canonical(lengths: Mapping[int, int]) -> dict[int, str]:
    """Give each symbol its word."""
    words, code = {}, 0
    for length in range(1, 16):
        for symbol in sorted(symbol for symbol, own in lengths.items() if own == length):
            words[symbol] = f"{code:0{length}b}"
            code += 1
        code <<= 1
    return words
