"""Refuse pickles that would run nothing, but take memory or time without end."""

from __future__ import annotations

import struct
import zipfile
from argparse import Namespace
from collections import Counter, OrderedDict
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from training.errors import InvalidImport
from training.importing.files import read_tensors
from training.importing.pickles import MAX_BYTES, MAX_OBJECTS

EMPTY, OLD_START = b"\x80\x02}.", b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.\x80\x02}."
"""A dict with nothing in it, and what a file from before torch 1.6 begins with."""


def pickled(key: bytes) -> bytes:
    """Give the pickle of a dict whose only key is the object that these instructions make."""
    return b"\x80\x02}" + key + b"K\x01s."


def call(name: bytes, argument: int) -> bytes:
    return b"c" + name + b"\nJ" + struct.pack("<i", argument) + b"\x85R"


def doubled(depth: int) -> bytes:
    """Make a tuple that holds the same tuple twice, and so on, down to a letter."""
    return b"X\x01\x00\x00\x00a" + b"".join(b"q%ch%c\x86" % (index, index) for index in range(depth))


def write_new(path: Path, pickle: bytes) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("w/data.pkl", pickle)
        archive.writestr("w/version", "3\n")


def write_old(path: Path, pickle: bytes) -> None:
    path.write_bytes(OLD_START + pickle + b"\x80\x02].")


@pytest.mark.parametrize("write", [write_new, write_old], ids=["new", "before torch 1.6"])
@pytest.mark.parametrize(
    ("pickle", "message"),
    [
        (pickled(call(b"__builtin__\nbytearray", 10_000)), "holds __builtin__.bytearray, a Python object, and none is"),
        (pickled(call(b"torch\nTensor", 10_000)), "holds torch.Tensor, a Python object, and none is loaded or run"),
        (pickled(call(b"torch\nFloatStorages", 9)), "holds torch.FloatStorages, a Python object, and none is loaded"),
        (pickled(doubled(18)), "says more beside its tensors than any weights need; save the weights alone instead"),
        (pickled(b"(" + b"K\x01" * MAX_OBJECTS + b"t"), "says more beside its tensors than any weights need"),
        (
            pickled(b"X" + struct.pack("<I", MAX_BYTES) + b"a" * MAX_BYTES),
            "says more beside its tensors than any weights need",
        ),
        (pickled(doubled(3)), "a tuple is a int, not a tensor with a name"),
        (b"\x80\x02h\x07.", "is damaged, or no file of weights"),
        (b"\x80\x02t.", "is damaged, or no file of weights"),
        (EMPTY, "holds no tensors"),
    ],
    ids=["bytes", "numbers", "like", "shared", "wide", "long", "small", "memo", "mark", "empty"],
)
def test_a_small_file_that_would_take_gigabytes_or_hours_is_refused_before_it_is_read(
    tmp_path: Path, write: Callable[[Path, bytes], None], pickle: bytes, message: str
) -> None:
    write(tmp_path / "weights.pth", pickle)

    with pytest.raises(InvalidImport) as refused:
        read_tensors(tmp_path / "weights.pth")

    assert str(refused.value).startswith(f"{tmp_path / 'weights.pth'}: {message}")


@pytest.mark.parametrize(
    ("dtype", "is_new"),
    [(torch.float16, False), (torch.bfloat16, True), (torch.float64, True), (torch.float8_e5m2, True)],
)
def test_a_training_state_with_what_is_usual_beside_the_weights_is_read(
    tmp_path: Path, dtype: torch.dtype, is_new: bool
) -> None:
    weights = OrderedDict(a=nn.Parameter(torch.ones(3, 2)), b=torch.ones(4).to(dtype), c=torch.tensor(3))
    beside = {
        "args": Namespace(lr=0.1, betas=(0.9, 0.99), device=torch.device("cpu")),
        "milestones": Counter([3, 5]),
        "tags": {"a", "b"},
        "sizes": [torch.Size([3, 4]), None, True, 1 << 40, 1.5],
        "dtype": torch.float32,
    }
    torch.save({"state_dict": weights, **beside}, tmp_path / "weights.pth", _use_new_zipfile_serialization=is_new)

    found = read_tensors(tmp_path / "weights.pth")

    assert {name: (tensor.dtype, tuple(tensor.shape)) for name, tensor in found.items()} == {
        "a": (torch.float32, (3, 2)),
        "b": (dtype, (4,)),
        "c": (torch.int64, ()),
    }
