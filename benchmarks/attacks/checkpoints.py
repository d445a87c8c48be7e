"""Put files into the folder of checkpoints that want to be executed, or to take all memory."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import os
import pickle
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from math import prod
from pathlib import Path
from typing import Any

import torch

from benchmarks.attacks.target import Attack, Target
from model_zoo.architectures import build
from model_zoo.card import Card
from model_zoo.checkpoint import load, save
from model_zoo.spec import SizeRule
from tests.faults.clients import request
from tests.faults.conftest import save_model
from tests.faults.server import until
from tests.service.fakes import plain_image

Header = dict[str, Any]

TERABYTE = 1 << 40
_PATIENCE = 60.0
_LOOKS = 2.0
"""Seconds in which the service has looked at the folder several times."""

_SHOWN = 110


class Evil:
    """Be a pickle that makes a folder when it is loaded."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        """Say what is to be called."""
        return os.mkdir, (str(self.proof),)


@dataclass(frozen=True, slots=True)
class Model:
    """Hold the parts of a checkpoint file, to be changed."""

    card: Header
    entries: Header
    data: bytes

    @classmethod
    def read(cls, path: Path) -> Model:
        """Read a good file."""
        blob = path.read_bytes()
        length = int.from_bytes(blob[:8], "little")
        entries = json.loads(blob[8 : 8 + length])
        card = json.loads(entries.pop("__metadata__")["segserve"])
        return cls({**card, "name": "evil"}, entries, blob[8 + length :])

    def file(self, **card: object) -> bytes:
        """Write it, with other words on its card."""
        metadata = {"segserve": json.dumps({**self.card, **card})}
        return _with_length(json.dumps({"__metadata__": metadata, **self.entries}).encode()) + self.data

    def file_for(self, **spec: object) -> bytes:
        """Write it, with another spec."""
        return self.file(spec={**self.card["spec"], **spec})

    def file_of(self, **entry: object) -> bytes:
        """Write it, with something else said of every tensor."""
        return replace(self, entries={name: {**own, **entry} for name, own in self.entries.items()}).file()


def attacks(folder: Path, good: Path) -> list[Attack]:
    """Give those on a server that watches ``folder``; ``good`` is a checkpoint to be changed."""
    proof = folder.parent / "executed"
    model, code = Model.read(good), pickle.dumps(Evil(proof))
    large, size = _large(model)
    declared, terabyte = _sparse(model)
    wide, flipped = {"base_channels": 128}, bytes([model.data[0] ^ 1]) + model.data[1:]
    padded = code.ljust(len(model.data), b"\0")
    nested = json.dumps({"__metadata__": {"segserve": "[" * 100_000}})
    files: Mapping[str, tuple[str, bytes]] = {
        "pickle named .safetensors": ("a pickle that makes a folder", code),
        "torch.save named .safetensors": ("the same, in the zip that torch.load reads", _zipped(code)),
        "pickle for weights": ("in a whole file, with the right sha256", _of(model, padded)),
        "header length 2^63": ("and a pickle", (1 << 63).to_bytes(8, "little") + code),
        "header of 17 MB": ("blanks", _with_length(b" " * (17 << 20))),
        "header nested 100,000 deep": ("`[[[[`", _with_length(b"[" * 100_000)),
        "metadata nested 100,000 deep": ("`[[[[`", _with_length(nested.encode())),
        "header of 200,000 tensors": ("all empty", Model(model.card, _many(200_000), b"").file()),
        "a tensor of a terabyte": ("declared, in a small file", model.file_of(shape=[TERABYTE // 4])),
        "shape 2^40 x 2^40": ("declared", model.file_of(shape=[TERABYTE, TERABYTE])),
        "another dtype": ("F64", model.file_of(dtype="F64")),
        "tensors that overlap": ("all at 0", model.file_of(shape=[1], data_offsets=[0, 4])),
        "a huge network": ("base_channels=10^9", model.file_for(arguments={"base_channels": 10**9})),
        "a large network, without its weights": ("base_channels=128", model.file_for(arguments=wide)),
        "an architecture by import string": ("`os.system`", model.file_for(architecture="os.system")),
        "a flipped bit": ("in the weights", replace(model, data=flipped).file()),
        "weights that are NaN": ("with the right sha256", _of_nan(model)),
    }  # fmt: skip
    put = partial(_put, folder, proof)
    return [
        *(Attack(name, sent, put(), partial(bytes, content)) for name, (sent, content) in files.items()),
        Attack("a terabyte of weights", "in a sparse file", put(size=terabyte), lambda: declared),
        Attack("a large network of zeros", f"{size >> 20} MiB, sparse, wrong sha256", put(size=size), lambda: large),
        Attack("pickle named .pth", "in the folder; `segserve check`", _pth(folder, proof), lambda: _zipped(code)),
        Attack("links and pipes", "to /etc/passwd, /dev/zero, itself; a pipe; a folder", _links(folder)),
        Attack("odd file names", "line break, script, no UTF-8, 250 characters", _names(folder)),
        Attack("a spec that enlarges", "side=8192, shortest; then a picture of 1x2 px", _enlarge(folder), _enlarging),
    ]  # fmt: skip


Run = Callable[[Target, bytes], Awaitable[str]]


def save_sized(path: Path, name: str, size: SizeRule) -> None:
    """Save a small model of three classes that sees pictures at such a size."""
    checkpoint = load(save_model(path, num_classes=3))
    save(path, checkpoint.network, Card(name=name, spec=checkpoint.header.spec.model_copy(update={"size": size})))


def _put(folder: Path, proof: Path, *, size: int = 0) -> Run:
    """Put a file there in one step, and tell what the service says of it."""

    def run(target: Target, content: bytes) -> str:
        draft, path, started = folder / "draft", folder / "evil.safetensors", time.monotonic()
        with draft.open("wb") as file:
            file.write(content)
            file.truncate(max(size, len(content)))
        draft.rename(path)
        until(lambda: bool(_problem(target, "evil")), seconds=_PATIENCE)
        told = f"{_problem(target, 'evil')} ({1000 * (time.monotonic() - started):.0f} ms)"
        path.unlink()
        until(lambda: "evil" not in _models(target), seconds=_PATIENCE)
        _look_for(proof, target)
        return told

    return _in_thread(run)


def _pth(folder: Path, proof: Path) -> Run:
    def run(target: Target, content: bytes) -> str:
        path = folder / "evil.pth"
        path.write_bytes(content)
        time.sleep(_LOOKS)
        names = ", ".join(_models(target))
        command = (sys.executable, "-m", "service", "check", str(path))
        checked = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)  # noqa: S603  # ours
        path.unlink()
        _look_for(proof, target)
        words = checked.stderr.strip().replace(str(folder), "FOLDER")
        return f"not looked at (served: {names}); check: exit code {checked.returncode}, {words}"

    return _in_thread(run)


def _links(folder: Path) -> Run:
    def run(target: Target, _: bytes) -> str:
        told = []
        for name, aim in {"passwd": "/etc/passwd", "zero": "/dev/zero", "itself": "itself.safetensors"}.items():
            (folder / f"{name}.safetensors").symlink_to(aim)
        os.mkfifo(folder / "pipe.safetensors")
        (folder / "folder.safetensors").mkdir()
        time.sleep(_LOOKS)
        for name in ("passwd", "zero", "itself", "pipe", "folder"):
            told.append(f"{name}: {_problem(target, name) or 'not listed'}")
            path = folder / f"{name}.safetensors"
            (path.rmdir if path.is_dir() else path.unlink)()
        return "; ".join(told)

    return _in_thread(run)


def _names(folder: Path) -> Run:
    def run(target: Target, _: bytes) -> str:
        names = (b"a\nb", b"<script>alert(1)<", b"\xff\xfe\x1b[2J", b"x" * 238)
        paths = [folder / os.fsdecode(name + b".safetensors") for name in names]
        for path in paths:
            path.write_bytes(b"x")
        time.sleep(_LOOKS)
        answer = target.server.get("/models")
        for path in paths:
            path.unlink()
        found = sorted(json.dumps(model["name"])[:24] for model in answer.json()["models"])
        return f"{answer.status_code} {answer.headers['content-type']}: {', '.join(found)}"

    return _in_thread(run)


def _enlarge(folder: Path) -> Run:
    async def run(target: Target, content: bytes) -> str:
        path = folder / "evil.safetensors"
        path.write_bytes(content)
        is_ready = partial(until, lambda: _models(target).get("evil", {}).get("state") == "ready", seconds=_PATIENCE)
        await asyncio.to_thread(is_ready)
        told = await target.send(request(plain_image(7, size=(1, 2)), path="/segment?model=evil"))
        path.unlink()
        return told

    return run


def _enlarging() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "evil.safetensors"
        save_sized(path, "evil", SizeRule(policy="shortest", side=8192))
        return path.read_bytes()


def _in_thread(run: Callable[[Target, bytes], str]) -> Run:
    return lambda target, content: asyncio.to_thread(run, target, content)


def _models(target: Target) -> dict[str, Header]:
    return {model["name"]: model for model in target.server.get("/models").json()["models"]}


def _problem(target: Target, name: str) -> str:
    problem = str(_models(target).get(name, {}).get("problem") or "")
    if str(target.settings["checkpoints"]) in problem:
        target.alarms.append("a path in the answer")
    return problem[:_SHOWN]


def _look_for(proof: Path, target: Target) -> None:
    if proof.exists():
        target.alarms.append("CODE WAS EXECUTED")
        proof.rmdir()


def _with_length(header: bytes) -> bytes:
    return len(header).to_bytes(8, "little") + header


def _zipped(code: bytes) -> bytes:
    output = io.BytesIO()
    with zipfile.ZipFile(output, "w") as archive:
        archive.writestr("archive/data.pkl", code)
        archive.writestr("archive/version", "3\n")
    return output.getvalue()


def _many(number: int) -> Header:
    return {str(index): {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for index in range(number)}


def _sparse(model: Model) -> tuple[bytes, int]:
    """Give a header whose only tensor has a terabyte, and the size of a file that has as much."""
    entry = {"dtype": "F32", "shape": [TERABYTE // 4], "data_offsets": [0, TERABYTE]}
    start = Model(model.card, {"weight": entry}, b"").file()
    return start, len(start) + TERABYTE


def _large(model: Model) -> tuple[bytes, int]:
    """Give the header of a network that is as wide as its architecture may be, and the size of its file."""
    arguments = {"base_channels": 128}
    with torch.device("meta"):
        state = build("unet", len(model.card["spec"]["classes"]), arguments).state_dict()
    entries, end = {}, 0
    for key, value in state.items():
        begin, end = end, end + value.element_size() * prod(value.shape)
        kind = "F32" if value.is_floating_point() else "I64"
        entries[key] = {"dtype": kind, "shape": list(value.shape), "data_offsets": [begin, end]}
    start = Model(model.card, entries, b"").file_for(arguments=arguments)
    return start, len(start) + end


def _of_nan(model: Model) -> bytes:
    """Give every weight the value NaN."""
    filled = bytearray(model.data)
    for entry in model.entries.values():
        begin, end = entry["data_offsets"]
        if entry["dtype"] == "F32":
            filled[begin:end] = b"\x00\x00\xc0\x7f" * ((end - begin) // 4)
    return _of(model, bytes(filled))


def _of(model: Model, data: bytes) -> bytes:
    """Give it other weights, and their sha256."""
    return replace(model, data=data).file(sha256=hashlib.sha256(data).hexdigest())
