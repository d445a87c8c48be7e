"""Look through a pickle before it is read: it may name what tensors need and nothing else, and must stay small.

What torch reads with ``weights_only`` runs no code, but can still be told to allocate gigabytes, or to hash a tuple
that a few bytes make as large as 2 to the power of its depth.
"""

from __future__ import annotations

import pickletools
import re
from typing import IO

MAX_BYTES = 1 << 24
"""The longest pickle that is read; a thousand tensors take some 150 kB, and their values lie elsewhere."""
MAX_OBJECTS = 1000
"""The most objects in a tuple, those in its tuples included; what a tensor is made of are some thirty."""

ALLOWED = re.compile(
    r"collections (OrderedDict|Counter)|(__builtin__|builtins) set|argparse Namespace"
    r"|torch\._utils _rebuild_(tensor|tensor_v2|tensor_v3|parameter|meta_tensor_no_storage)"
    r"|torch(\.storage|\.cuda)? \w+Storage|torch (Size|device|bool|(b?float|u?int|complex)\w+)"
)
"""What a pickle may name: tensors with their storages and types, and the plain values that training keeps beside."""

_MARK = 0
_PUTS, _GETS = ("BINPUT", "LONG_BINPUT"), ("BINGET", "LONG_BINGET")


class Unwanted(Exception):
    """A pickle names ``name``, which tensors do not need."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


class TooLarge(Exception):
    """A pickle is longer, or makes a larger tuple, than any file of weights needs."""


def check_pickle(file: IO[bytes]) -> None:
    """Look through one pickle, and leave the file behind it; nothing of it is made.

    Raises:
        Unwanted: it names what tensors do not need.
        TooLarge: it is too long, or makes too large a tuple.
        ValueError, LookupError: it is damaged.
    """
    sizes: list[int] = []  # of what is on the stack, in objects, each counted as often as it is referred to
    memo: dict[object, int] = {}
    for opcode, argument, position in pickletools.genops(file):
        if opcode.name == "GLOBAL" and not ALLOWED.fullmatch(str(argument)):
            raise Unwanted(str(argument).replace(" ", "."))
        if opcode.name in _PUTS:
            memo[argument] = sizes[-1]
        elif opcode.name in _GETS:
            sizes.append(memo[argument])
        else:
            _step(opcode, sizes)
        if (position or 0) > MAX_BYTES or (sizes and sizes[-1] > MAX_OBJECTS):
            raise TooLarge


def _step(opcode: pickletools.OpcodeInfo, sizes: list[int]) -> None:
    """Take from the stack what an instruction takes, and put there what it makes.

    Lists and dicts count as one object, since nothing of the pickle's can be asked for their hash.
    """
    takes, makes = opcode.stack_before, opcode.stack_after
    taken: list[int] = []
    if pickletools.markobject in takes:
        while (size := sizes.pop()) != _MARK:
            taken.append(size)
        takes = takes[: takes.index(pickletools.markobject)]
    taken += [sizes.pop() for _ in takes]
    if pickletools.markobject in makes:
        sizes.append(_MARK)
    elif makes:
        adds_up = makes[0] in (pickletools.pytuple, pickletools.anyobject)
        sizes.append(1 + sum(taken) if adds_up else 1)
