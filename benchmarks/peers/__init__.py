"""Serve the same task with the servers that others offer, each in an environment of its own, to compare with them.

``benchmarks/peers/setup.sh`` makes the environments, ``python -m benchmarks.peers NAME`` tries one peer.
"""

from __future__ import annotations

import json
import sysconfig
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from benchmarks.peers.peer import Peer, Task

__all__ = ["ENVIRONMENTS", "PEERS", "Peer", "Task"]

ROOT = Path(__file__).parents[2]

ENVIRONMENTS = Path("runs/peers")
"""Where the environments are, seen from the root of the repository, in which the peers are started."""


def _python(name: str, *words: str) -> Callable[[Task, int], Sequence[str]]:
    """Give the command that runs a module of this package with a port, in the peer's own environment."""
    return lambda _, port: [str(ENVIRONMENTS / name / "bin/python"), "-m", *words, str(port)]


def _environment(*, patience: float = 0.0, **more: str) -> Callable[[Task], Mapping[str, str]]:
    return lambda task: {**task.variables(patience=patience), "PYTHONPATH": str(ROOT), **more}


def _raw(jpeg: bytes) -> tuple[str, Mapping[str, str], bytes]:
    return "/segment", {"Content-Type": "image/jpeg"}, jpeg


def _base64(jpeg: bytes) -> tuple[str, Mapping[str, str], bytes]:
    body = json.dumps({"images": [b64encode(jpeg).decode()]}).encode()
    return "/segment", {"Content-Type": "application/json"}, body


def _from_base64(body: bytes) -> bytes:
    return b64decode(json.loads(body)[0])


def _tensor(jpeg: bytes) -> tuple[str, Mapping[str, str], bytes]:
    """Give a request of the Open Inference Protocol with its binary extension."""
    image = {
        "name": "image",
        "datatype": "BYTES",
        "shape": [1, 1],
        "parameters": {"binary_data_size": 4 + len(jpeg)},
    }
    mask = {"name": "mask", "parameters": {"binary_data": True}}
    head = json.dumps({"inputs": [image], "outputs": [mask]}).encode()
    headers = {"Content-Type": "application/octet-stream", "Inference-Header-Content-Length": str(len(head))}
    return "/v2/models/segment/infer", headers, head + len(jpeg).to_bytes(4, "little") + jpeg


def _from_tensor(body: bytes) -> bytes:
    """Give what comes after the JSON, whose length is told in a header, and the length of the one element."""
    return body[body.index(_PNG) :]


def _bentoml(_: Task, port: int) -> Sequence[str]:
    program = str(ENVIRONMENTS / "bentoml/bin/bentoml")
    return [program, "serve", "benchmarks.peers.bentoml_service:Segment", "--host", "127.0.0.1", "--port", str(port)]


def _predictions(jpeg: bytes) -> tuple[str, Mapping[str, str], bytes]:
    return "/predictions/segment", {"Content-Type": "image/jpeg"}, jpeg


def _whole(body: bytes) -> bytes:
    return body


_PNG = b"\x89PNG"

_PATIENCE = 0.005
"""Seconds for which those peers wait for company that gather no batch while they are busy."""

PEERS: Mapping[str, Peer] = {
    "plain": Peer(
        name="plain",
        version_of="fastapi",
        command=_python("plain", "benchmarks.peers.plain_server"),
        environment=_environment(),
        ready_path="/health",
        request=_raw,
        answer=_whole,
    ),
    "litserve": Peer(
        name="litserve",
        version_of="litserve",
        command=_python("litserve", "benchmarks.peers.litserve_api"),
        environment=_environment(patience=_PATIENCE),
        ready_path="/health",
        request=_raw,
        answer=_whole,
    ),
    "bentoml": Peer(
        name="bentoml",
        version_of="bentoml",
        command=_bentoml,
        environment=_environment(BENTOML_DO_NOT_TRACK="True"),
        ready_path="/readyz",
        request=_base64,
        answer=_from_base64,
    ),
    "ray": Peer(
        name="ray",
        version_of="ray",
        command=_python("ray", "benchmarks.peers.ray_deployment"),
        # The replica's own loop takes requests, as Ray advises for throughput: a tenth more of them, and a shorter p99.
        environment=_environment(RAY_USAGE_STATS_ENABLED="0", RAY_SERVE_THROUGHPUT_OPTIMIZED="1"),
        ready_path="/segment",
        request=_raw,
        answer=_whole,
    ),
    "pytriton": Peer(
        name="pytriton",
        version_of="nvidia-pytriton",
        command=_python("pytriton", "benchmarks.peers.pytriton_server"),
        # Its interpreter is a libpython, which must not be the system's where the environment is of another Python.
        environment=_environment(
            LD_LIBRARY_PATH=str(sysconfig.get_config_var("LIBDIR")),
            PYTRITON_HOME=str(ROOT / ENVIRONMENTS / "pytriton/home"),
        ),
        ready_path="/v2/models/segment/ready",
        request=_tensor,
        answer=_from_tensor,
    ),
    "mlserver": Peer(
        name="mlserver",
        version_of="mlserver",
        command=_python("mlserver", "benchmarks.peers.mlserver_runtime"),
        environment=_environment(patience=_PATIENCE),
        ready_path="/v2/models/segment/ready",
        request=_raw,
        answer=_whole,
    ),
    "torchserve": Peer(
        name="torchserve",
        version_of="torchserve",
        command=_python("torchserve", "benchmarks.peers.torchserve_start"),
        # Batches gather while it is busy: with 5 ms of patience it gave as many images, but a p99 half as long again.
        environment=_environment(),
        ready_path="/predictions/segment",  # /ping answers 200 while the worker still loads
        request=_predictions,
        answer=_whole,
    ),
}
