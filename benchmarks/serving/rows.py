"""Name the servers that are measured: this service with several settings, the peers, and one that does no work.

A row of this service is its name and the settings by which it differs from the default; add one here.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.peers import ENVIRONMENTS, PEERS, Peer, Task
from service.settings import SHIPPED_CHECKPOINTS, SHIPPED_DEFAULT, variable_name

ROOT = Path(__file__).parents[2]

REFERENCE = "segserve"
"""The row that all others are held against."""

TRIVIAL = "trivial"

SETTINGS: Mapping[str, Mapping[str, str]] = {
    REFERENCE: {},
    "segserve-best": {"runtime": "openvino", "device": "cpu:0,cpu:1", "torch_threads": "1"},
    "segserve-bfloat16": {
        "runtime": "openvino",
        "precision": "bfloat16",
        "device": "cpu:0,cpu:1",
        "torch_threads": "1",
    },
}
"""What a row of this service sets, by the names in ``service/settings.py``; the task's own come on top."""


def is_own(name: str) -> bool:
    """Tell whether a row is of this service."""
    return name in SETTINGS


def is_installed(name: str) -> bool:
    """Tell whether a row can be started here; a peer cannot before ``benchmarks/peers/setup.sh``."""
    return name not in PEERS or (ROOT / ENVIRONMENTS / name / "bin/python").exists()


def version_command(name: str) -> Sequence[str]:
    """Give the command that prints the version of a row's server and of the Python and torch that it runs on."""
    script = (
        "import importlib.metadata as m, platform, sys\n"
        "names = dict.fromkeys([sys.argv[1], 'torch', 'pillow', 'numpy'])\n"
        "print({'python': platform.python_version(), **{n: m.version(n) for n in names}})"
    )
    python = str(ROOT / ENVIRONMENTS / name / "bin/python") if name in PEERS else sys.executable
    return [python, "-c", script, ROWS[name].version_of]


def configured(peer: Peer, settings: Mapping[str, str]) -> Peer:
    """Give this service with more settings."""
    more = _variables(settings)
    return replace(peer, environment=lambda task: {**peer.environment(task), **more})


def bound(peer: Peer, cores: str) -> Peer:
    """Give a server that runs on some cores alone, named as ``taskset`` does."""
    return replace(peer, command=lambda task, port: ["taskset", "--cpu-list", cores, *peer.command(task, port)])


def asking(peer: Peer, model: str) -> Peer:
    """Give this service asked for a model by its name."""

    def request(jpeg: bytes) -> tuple[str, Mapping[str, str], bytes]:
        path, headers, body = peer.request(jpeg)
        return f"{path}?model={model}", headers, body

    return replace(peer, request=request)


def _own(name: str) -> Peer:
    return Peer(
        name=name,
        version_of="segserve",
        command=_command("service", "serve", "--port"),
        environment=_own_environment(SETTINGS[name]),
        ready_path="/readyz",
        request=lambda jpeg: ("/segment", {"Content-Type": "image/jpeg"}, jpeg),
        answer=lambda body: body,
    )


def _command(module: str, *words: str) -> Callable[[Task, int], Sequence[str]]:
    return lambda _, port: [sys.executable, "-m", module, *words, str(port)]


def _own_environment(chosen: Mapping[str, str]) -> Callable[[Task], Mapping[str, str]]:
    def environment(task: Task) -> Mapping[str, str]:
        settings = {
            "device": "cpu",
            "checkpoints": str(task.network or SHIPPED_CHECKPOINTS / f"{SHIPPED_DEFAULT}.safetensors"),
            "runtime": "torch",
            "torch_threads": str(task.threads),
            "max_batch_size": str(task.max_batch_size),
            "log_level": "warning",
            **chosen,
            **({} if task.network else {"runtime": "null"}),
        }
        return {**_variables(settings), "PYTHONPATH": str(ROOT)}

    return environment


def _variables(settings: Mapping[str, str]) -> Mapping[str, str]:
    return {variable_name(name): value for name, value in settings.items()}


ROWS: Mapping[str, Peer] = {
    **{name: _own(name) for name in SETTINGS},
    **PEERS,
    TRIVIAL: Peer(
        name=TRIVIAL,
        version_of="segserve",
        command=_command("benchmarks.serving.trivial"),
        environment=lambda _: {"PYTHONPATH": str(ROOT)},
        ready_path="/",
        request=lambda jpeg: ("/", {}, jpeg),
        answer=lambda body: body,
    ),
}
