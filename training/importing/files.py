"""Read the named tensors of a file that somebody else wrote, trusting nothing of it and running nothing in it."""

from __future__ import annotations

import argparse
import struct
import warnings
import zipfile
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor
from torch._C import PyTorchFileReader  # what torch.load itself opens an archive with

from model_zoo.pretrained import DAMAGE
from training.complaints import shown
from training.errors import InvalidImport
from training.importing.pickles import MAX_BYTES, TooLarge, Unwanted, check_pickle

WRAPPERS = ("state_dict", "model_state_dict", "model")
"""Under which of a training state's names its weights lie; the first that is there counts."""
PREFIXES = ("module.", "_orig_mod.", "model.", "net.", "network.")
"""What DistributedDataParallel, torch.compile and wrapping modules put before every name."""
MAX_PREFIXES = 8
"""How many of them are taken off one after the other."""
EMA_COUNTER = "n_averaged"
"""What torch's AveragedModel keeps beside the weights."""

ZIP_MAGIC, PICKLE_MAGIC = b"PK\x03\x04", b"\x80"
HEADER_BYTES = 9
RECORD = "data.pkl"
"""Where an archive of torch.save says what tensors it holds."""
OLD_PICKLES = 5
"""How many pickles stand before the values in a file from before torch 1.6."""

_STUMBLES = (*DAMAGE, MemoryError, AttributeError, ArithmeticError, AssertionError, ImportError, struct.error)
"""What torch's and safetensors' readers raise for a file that is damaged or made to harm."""
_INSTEAD = "save the weights alone instead: torch.save(model.state_dict(), FILE)"


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Give the tensors of a ``.pth``, ``.pt`` or ``.safetensors`` file by name, without the wrappers around them.

    Their values are left on the disk until they are used, but for files as torch wrote them before version 1.6.

    Raises:
        InvalidImport: the file is of another kind, is damaged, or holds more than tensors.
        OSError: it is missing or may not be read.
    """
    content = _read(path)
    for _ in WRAPPERS:  # a wrapper may hold another
        content = _unwrapped(content)
    if not isinstance(content, Mapping):
        raise InvalidImport(f"{path}: holds a {type(content).__name__}, not tensors by name; {_INSTEAD}")
    if not content:
        raise InvalidImport(f"{path}: holds no tensors")
    for name, value in content.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            kind = type(value).__name__
            raise InvalidImport(f"{path}: {shown(name)} is a {kind}, not a tensor with a name; {_INSTEAD}")
        _check_kind(path, name, value)
    return _without_prefixes({name: value for name, value in content.items() if name != EMA_COUNTER})


def _read(path: Path) -> object:
    if path.exists() and not path.is_file():
        raise InvalidImport(f"{path}: is no file; give a .pth, .pt or .safetensors file")
    with path.open("rb") as file:
        start = file.read(HEADER_BYTES)
    if not start:
        raise InvalidImport(f"{path}: is empty")
    is_safetensors = start[8:] == b"{"
    is_zip = start.startswith(ZIP_MAGIC)
    if not (is_safetensors or is_zip or start.startswith(PICKLE_MAGIC)):
        raise InvalidImport(f"{path}: is neither a file of torch.save nor of safetensors")
    if is_zip:
        _check_archive(path)
    try:
        return load_file(path) if is_safetensors else _unpickle(path, is_zip=is_zip)
    except Unwanted as error:
        raise InvalidImport(f"{path}: holds {_object(error.name)}") from error
    except TooLarge as error:
        raise InvalidImport(f"{path}: says more beside its tensors than any weights need; {_INSTEAD}") from error
    except _STUMBLES as error:
        kind = type(error).__name__
        raise InvalidImport(f"{path}: is damaged, or no file of weights ({kind} while reading)") from error


def _unpickle(path: Path, *, is_zip: bool) -> object:
    """Read a file of torch.save; of objects, only the words of a command line, which tensors often lie beside."""
    _check_pickles(path, is_zip=is_zip)
    with torch.serialization.safe_globals([argparse.Namespace]), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's advice is for whoever wrote the file
        return torch.load(path, map_location="cpu", weights_only=True, mmap=is_zip)


def _check_pickles(path: Path, *, is_zip: bool) -> None:
    """Look through what describes the tensors, as the very reader finds it that will read it."""
    if is_zip:
        archive = PyTorchFileReader(str(path))
        if archive.get_record_size(RECORD) > MAX_BYTES:
            raise TooLarge
        check_pickle(BytesIO(archive.get_record(RECORD)))
        return
    with path.open("rb") as file:
        for _ in range(OLD_PICKLES):
            check_pickle(file)


def _check_archive(path: Path) -> None:
    """Refuse archives that torch.save did not write, before anything in them is unpacked."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise InvalidImport(f"{path}: is cut short or damaged") from error
    names = {entry.filename.partition("/")[2] for entry in entries}
    if "constants.pkl" in names:
        raise InvalidImport(f"{path}: is a TorchScript archive, which holds code; {_INSTEAD}")
    if RECORD not in names:
        raise InvalidImport(f"{path}: is an archive, but not one of torch.save")
    if any(entry.file_size != entry.compress_size for entry in entries):
        raise InvalidImport(f"{path}: is compressed, as torch.save never does; save the weights anew")


def _object(name: str) -> str:
    if name.startswith("torch._utils._rebuild"):
        return f"tensors of another kind ({shown(name)}); weights are plain floating-point numbers"
    return f"{shown(name)}, a Python object, and none is loaded or run; {_INSTEAD}"


def _unwrapped(content: object) -> object:
    if isinstance(content, Mapping):
        for name in WRAPPERS:
            if isinstance(content.get(name), Mapping):
                return content[name]
    return content


def _check_kind(path: Path, name: str, tensor: Tensor) -> None:
    if tensor.is_meta:
        raise InvalidImport(f"{path}: {shown(name)} has a shape but no values")
    if tensor.is_complex():
        kind = str(tensor.dtype).removeprefix("torch.")
        raise InvalidImport(f"{path}: {shown(name)} is {kind}; weights are plain floating-point numbers")


def _without_prefixes(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    for _ in range(MAX_PREFIXES):
        shared = next((prefix for prefix in PREFIXES if all(name.startswith(prefix) for name in tensors)), None)
        if shared is None:
            break
        tensors = {name.removeprefix(shared): tensor for name, tensor in tensors.items()}
    return tensors
