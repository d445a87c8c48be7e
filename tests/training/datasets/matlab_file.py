"""Write MATLAB 5 files as SBD has them."""

import struct
import zlib

import numpy as np
from numpy.typing import NDArray


def matlab_file(segmentation: NDArray[np.uint8], *, compressed: bool = True, variable: str = "GTcls") -> bytes:
    """Write a struct with a field before and one behind the segmentation."""
    names = ("Boundaries", "Segmentation", "CategoriesPresent")
    fields = (
        _uint8_matrix(np.zeros((1, 3), np.uint8)),
        _uint8_matrix(segmentation),
        _uint8_matrix(np.eye(2, dtype=np.uint8)),
    )
    body = _start(2, (1, 1), variable) + struct.pack("<HHi", 5, 4, 32)
    body += _element(1, b"".join(name.encode().ljust(32, b"\0") for name in names)) + b"".join(fields)
    element = _element(14, body)
    if compressed:
        packed = zlib.compress(element)
        element = struct.pack("<II", 15, len(packed)) + packed
    return b"MATLAB 5.0 MAT-file".ljust(124) + b"\x00\x01IM" + element


def _uint8_matrix(values: NDArray[np.uint8]) -> bytes:
    column_major = values.tobytes(order="F")
    return _element(14, _start(9, values.shape, "") + _element(2, column_major))


def _start(kind: int, shape: tuple[int, ...], name: str) -> bytes:
    return _element(6, struct.pack("<II", kind, 0)) + _element(5, struct.pack("<ii", *shape)) + _name(name)


def _name(name: str) -> bytes:
    return _element(1, name.encode())


def _element(kind: int, content: bytes) -> bytes:
    if 0 < len(content) <= 4:
        return struct.pack("<HH", kind, len(content)) + content.ljust(4, b"\0")
    return struct.pack("<II", kind, len(content)) + content + b"\0" * (-len(content) % 8)
