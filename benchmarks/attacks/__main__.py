"""Start the service, attack it, and print a table: what was sent, what happened, and whether it still serves.

Run from the repository's root: ``python -m benchmarks.attacks``, or ``--only slow`` for the rows whose name holds a
word. The null runtime stands for the network; all other settings are the defaults, but for the folder of checkpoints,
which is looked at more often. An attack may take minutes, all of them some thirty. ``--decoding`` measures instead how
long the slowest known pictures take to decode: a part of each, from which the whole is worked out.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import secrets
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

from PIL import features

from benchmarks.attacks import bodies, checkpoints, doors, pictures, wire
from benchmarks.attacks.slow import SLOW
from benchmarks.attacks.target import Attack, Target
from model_zoo.spec import SizeRule
from service.keys import make_key
from tests.faults.conftest import save_model

PARTS = {
    "JPEG": 2 / 49,
    "JPEG without arithmetic": 1.0,
    "PNG": 0.1,
    "WebP": 1.0,
    "TIFF": 0.001,
    "TIFF of a JPEG": 2 / 49,
    "BMP": 0.25,
}
"""How much of the slowest picture of a kind is measured."""

_LIBRARIES = ("uvicorn", "httptools", "starlette", "python-multipart", "pydantic", "pillow", "torch")


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", metavar="WORD", help="attacks whose name holds it")
    parser.add_argument("--decoding", action="store_true", help="measure the decoding of the slowest pictures")
    options = parser.parse_args()
    print(describe_machine())
    with tempfile.TemporaryDirectory() as folder:
        if options.decoding:
            measure_decoding(Path(folder), options.only)
        else:
            attack(Path(folder), options.only)


def attack(folder: Path, word: str) -> None:
    """Print a row for every attack."""
    key, line = make_key()
    token = secrets.token_urlsafe(32)
    keys = folder / "keys"
    keys.write_text(f"ann {line}\n")
    keys.chmod(0o600)
    with _open_target(folder) as target:
        _print_rows(target, [*wire.attacks(), *bodies.attacks(), *pictures.attacks()], word)
    with _open_target(folder, watch_interval=0.2) as target:
        watched = Path(str(target.settings["checkpoints"]))
        _print_rows(target, checkpoints.attacks(watched, watched / "tiny.safetensors"), word)
    with _open_target(folder, api_keys_file=keys, admin_token=token) as target:
        target.headers["X_API_Key"] = key
        _print_rows(target, doors.attacks(key, token), word)


def measure_decoding(folder: Path, word: str) -> None:
    """Print how long a part of the slowest pictures takes, and what that makes of the whole."""
    _print_head("kind", "part sent", "answer", "CPU, s", "memory, MB", "whole file, MB", "CPU of the whole, s")
    with _open_target(folder, decode_timeout=3600) as target:
        for kind, part in PARTS.items():
            if word in kind:
                measured = [asyncio.run(_measure(target, SLOW[kind](share))) for share in (part / 2, part)]
                (_, half, _), (told, seconds, grown_mb) = measured
                whole = seconds + (seconds - half) / (part / 2) * (1 - part)
                size = len(SLOW[kind](1.0)) / 1e6
                worked_out = f"{whole:.0f}" if told.startswith("200") else ""
                print(
                    f"| {kind} | {part:.3g} | {told} | {seconds:.1f} | {grown_mb:+.0f} | {size:.3f} | {worked_out} |",
                    flush=True,
                )


async def _measure(target: Target, content: bytes) -> tuple[str, float, float]:
    """Give the answer to a picture, how long the server computed for it, and how much memory it took."""
    target.server.forget_peak()
    before, computed = target.server.resident_bytes(), target.cpu_seconds()
    told = await target.post(content, Content_Type="application/octet-stream", X_Request_Timeout="120")
    return told, target.cpu_seconds() - computed, (target.server.peak_bytes() - before) / 1e6


def describe_machine() -> str:
    """Name what the figures depend on."""
    libraries = ", ".join(f"{name} {version(name)}" for name in _LIBRARIES)
    codecs = ", ".join(f"{name} {features.version(name)}" for name in ("libjpeg_turbo", "zlib_ng", "webp", "libtiff"))
    machine = f"Python {platform.python_version()}, {platform.system()} {platform.machine()}"
    return f"{machine}, {len(os.sched_getaffinity(0))} CPUs\n{libraries}\n{codecs}\n"


@contextmanager
def _open_target(folder: Path, **settings: object) -> Iterator[Target]:
    """Run a server with a folder of its own, in which there are two small checkpoints."""
    own = Path(tempfile.mkdtemp(dir=folder))
    watched = own / "checkpoints"
    watched.mkdir()
    save_model(watched / "tiny.safetensors")
    checkpoints.save_sized(watched / "native.safetensors", "native", SizeRule(policy="native"))
    with Target(own, {"checkpoints": watched, "default_model": "tiny", **settings}).running() as target:
        yield target


def _print_rows(target: Target, attacks: Sequence[Attack], word: str) -> None:
    chosen = [attack for attack in attacks if word in attack.name]
    if not chosen:
        return
    _print_head("attack", "what was sent", "what happened", "memory, MB", "slowest probe, ms", "after")
    for one in chosen:
        print(asyncio.run(target.attempt(one)), flush=True)
    print()


def _print_head(*names: str) -> None:
    print("| " + " | ".join(names) + " |\n|" + "---|" * len(names))


if __name__ == "__main__":
    main()
