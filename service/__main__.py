"""Offer the command line: serve, predict, check, tune, key."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from model_zoo.allocator import SERVED_BYTES, keep_freed_memory
from service.settings import (
    SHIPPED_CHECKPOINTS,
    SHIPPED_DEFAULT,
    BadSetting,
    Settings,
    is_secret,
    option_name,
    variable_name,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; give the exit code: 0 done, 1 it failed, 2 it was not asked for properly."""
    options = _parser().parse_args(arguments)
    # torch's OpenMP threads spin at every barrier and starve whoever shares the machine, ten times over, unless they
    # are told to sleep; they are told when torch is imported, so the commands that import it are imported after this.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    keep_freed_memory(SERVED_BYTES)
    try:
        return _COMMANDS[options.command](options)
    except BadSetting as error:
        return _complain(error, code=2)
    except BrokenPipeError:  # whoever reads the output has had enough, as ``head`` has
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        return 130


def _serve(options: argparse.Namespace) -> int:
    asked = {field: getattr(options, field, None) for field in Settings.model_fields}
    given = {field: value for field, value in asked.items() if value is not None}
    settings = Settings.read(os.environ, given)
    from service.catalog import NoUsableModel  # noqa: PLC0415  # see main
    from service.server import CannotListen, serve  # noqa: PLC0415  # see main

    try:
        reason = serve(settings)
    except (NoUsableModel, CannotListen) as error:
        return _complain(error)
    return 0 if reason is None else _complain(reason)


def _predict(options: argparse.Namespace) -> int:
    from model_zoo.checkpoint import BadCheckpoint  # noqa: PLC0415  # see main
    from service.catalog import NoUsableModel  # noqa: PLC0415  # see main
    from service.offline import SameName, predict_files  # noqa: PLC0415  # see main

    try:
        problems = predict_files(options.images, model=options.model, out=options.out, npy=options.npy)
    except (SameName, BadCheckpoint, NoUsableModel) as error:
        return _complain(error)
    except OSError as error:
        return _complain(f"cannot write {error.filename or options.out}: {error.strerror}")
    for problem in problems:
        _complain(problem)
    return 1 if problems else 0


def _check(options: argparse.Namespace) -> int:
    from model_zoo.checkpoint import BadCheckpoint  # noqa: PLC0415  # see main
    from service.offline import check_file  # noqa: PLC0415  # see main

    try:
        for line in check_file(options.file):
            sys.stdout.write(_printable(line) + "\n")
    except BadCheckpoint as error:
        return _complain(error)
    return 0


def _tune(options: argparse.Namespace) -> int:
    from model_zoo.checkpoint import BadCheckpoint  # noqa: PLC0415  # see main
    from service.catalog import NoUsableModel  # noqa: PLC0415  # see main
    from service.offline import tune_file  # noqa: PLC0415  # see main

    try:
        for line in tune_file(
            options.file, device=options.device, max_batch_size=options.max_batch_size, seconds=options.seconds
        ):
            sys.stdout.write(_printable(line) + "\n")
            sys.stdout.flush()
    except (BadCheckpoint, NoUsableModel) as error:
        return _complain(error)
    except OSError as error:
        return _complain(f"cannot write {error.filename}: {error.strerror}")
    return 0


def _key(options: argparse.Namespace) -> int:
    from service.keys import make_key  # noqa: PLC0415  # see main

    key, sha256 = make_key()
    sys.stdout.write(f"key, shown only now: {key}\nline for api_keys_file: {options.name} {sha256}\n")
    return 0


_COMMANDS = {"serve": _serve, "predict": _predict, "check": _check, "tune": _tune, "key": _key}


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="segserve", description="Turn pictures into segmentation masks.", allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", required=True, metavar="serve|predict|check|tune|key")

    serving = commands.add_parser("serve", help="answer POST /segment", allow_abbrev=False)
    for field, about in Settings.model_fields.items():
        default = "" if about.default is None else f" (default: {about.default})"
        told = f"{about.description}{default} [{variable_name(field)}]".replace("%", "%%")
        flag: Any = {"nargs": "?", "const": "true"} if about.annotation is bool else {}
        if not is_secret(field):
            serving.add_argument(option_name(field), dest=field, metavar="X", help=told, **flag)

    predicting = commands.add_parser("predict", help="write the masks of image files", allow_abbrev=False)
    predicting.add_argument("images", nargs="+", type=Path, metavar="IMAGE")
    predicting.add_argument(
        "--model",
        type=Path,
        default=SHIPPED_CHECKPOINTS / f"{SHIPPED_DEFAULT}.safetensors",
        metavar="FILE",
        help="default: the default among those shipped",
    )
    predicting.add_argument("--out", type=Path, default=Path(), metavar="DIR", help="default: this folder")
    predicting.add_argument("--npy", action="store_true", help="write the mask as a NumPy array, too")

    checking = commands.add_parser("check", help="say what a checkpoint holds, and verify it", allow_abbrev=False)
    checking.add_argument("file", type=Path, metavar="FILE")

    tuning = commands.add_parser("tune", help="find the quickest way to run a checkpoint here", allow_abbrev=False)
    tuning.add_argument("file", type=Path, metavar="FILE")
    tuning.add_argument("--device", default="auto", metavar="X", help="as for serve; of several, the first")
    tuning.add_argument("--max-batch-size", type=_within(1, 64), default=8, metavar="N", help="default: 8")
    tuning.add_argument("--seconds", type=_within(1, 3600), default=60, metavar="S", help="time of measuring (60)")

    making = commands.add_parser("key", help="make a key that opens the service", allow_abbrev=False)
    making.add_argument("name", metavar="NAME", help="who will have it")
    return parser


def _within(least: int, most: int) -> Callable[[str], int]:
    """Read a whole number within limits."""

    def read(text: str) -> int:
        if not text.isascii() or not text.isdecimal() or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"{text!r} is no whole number from {least} to {most}")
        return int(text)

    return read


def _complain(problem: object, *, code: int = 1) -> int:
    sys.stderr.write(f"segserve: {_printable(' '.join(str(problem).split()))}\n")
    return code


def _printable(text: str) -> str:
    """Show as escapes what a file may hold to move a terminal's cursor, or worse."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


if __name__ == "__main__":
    sys.exit(main())
