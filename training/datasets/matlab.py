"""Read one uint8 matrix out of a MATLAB 5 file: all that SBD needs, and far less than SciPy.

The format: "MAT-File Format", The MathWorks, chapter 1, level 5. A file is a header of 128 bytes and then elements,
each a tag (type and length) and its content, padded to 8 bytes; a matrix is an element made of elements.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

HEADER_BYTES = 128
INT8, UINT8, INT32, UINT32, MATRIX, COMPRESSED = 1, 2, 5, 6, 14, 15
STRUCT_CLASS, UINT8_CLASS = 2, 9

Element = tuple[int, bytes]
"""The type of an element and its content."""


def read_matrix(content: bytes, variable: str, field: str) -> NDArray[np.uint8]:
    """Give ``variable.field`` of a file, a uint8 matrix ``[H, W]``.

    Raises:
        ValueError: the file is not of this format, or has no such matrix.
    """
    try:
        matrix = _find(content, variable, field)
    except (struct.error, zlib.error, StopIteration, IndexError) as error:
        raise ValueError("not a MATLAB 5 file, or cut short") from error
    if matrix is None:
        raise ValueError(f"no {variable}.{field} in it")
    return matrix


def _find(content: bytes, variable: str, field: str) -> NDArray[np.uint8] | None:
    order = {b"IM": "<", b"MI": ">"}.get(content[126:HEADER_BYTES])
    if order is None:
        raise ValueError("no MATLAB 5 file")
    for kind, body in _elements(content[HEADER_BYTES:], order):
        element = next(_elements(zlib.decompress(body), order)) if kind == COMPRESSED else (kind, body)
        parts = _elements(element[1], order)
        if element[0] != MATRIX or next(parts)[1][_class_byte(order)] != STRUCT_CLASS:
            continue
        next(parts)  # the dimensions of the struct, 1 x 1
        if next(parts)[1].decode("latin-1") == variable:
            return _field(parts, field, order)
    return None


def _field(parts: Iterator[Element], field: str, order: str) -> NDArray[np.uint8] | None:
    (length,) = struct.unpack(f"{order}i", next(parts)[1])
    joined = next(parts)[1]
    names = [joined[start : start + length].split(b"\0")[0] for start in range(0, len(joined), length)]
    for name, (_, body) in zip(names, parts, strict=False):
        if name == field.encode():
            return _matrix(body, order)
    return None


def _matrix(body: bytes, order: str) -> NDArray[np.uint8]:
    parts = _elements(body, order)
    flags, dimensions = next(parts)[1], next(parts)[1]
    next(parts)  # a field's name stands in the struct, here it is empty
    kind, values = next(parts)
    height, width, *deeper = struct.unpack(f"{order}{len(dimensions) // 4}i", dimensions)
    if flags[_class_byte(order)] != UINT8_CLASS or kind != UINT8 or deeper or len(values) != math.prod((height, width)):
        raise ValueError("the matrix is not of uint8 with two dimensions")
    return np.frombuffer(values, np.uint8).reshape((height, width), order="F").copy(order="C")


def _class_byte(order: str) -> int:
    """Say which byte of a matrix's flags is its class."""
    return 0 if order == "<" else 3


def _elements(content: bytes, order: str) -> Iterator[Element]:
    place = 0
    while place < len(content):
        kind, length = struct.unpack_from(f"{order}II", content, place)
        if kind >> 16:  # a small element: its length, its type and up to four bytes share one tag
            kind, length, start, after = kind & 0xFFFF, kind >> 16, place + 4, place + 8
        else:
            start = place + 8
            after = start + length + (0 if kind == COMPRESSED else -length % 8)
        if start + length > len(content):
            raise ValueError("not a MATLAB 5 file, or cut short")
        yield kind, content[start : start + length]
        place = after
