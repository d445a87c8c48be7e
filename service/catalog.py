"""Find the checkpoint files that there are, and notice when they change.

A file is looked at again when its inode, size or time changes, and only once it has stopped changing: whoever copies a
checkpoint into the folder slowly never has half of it read.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from model_zoo.checkpoint import SUFFIX, BadCheckpoint, Inspection, inspect

Signature = tuple[int, int, int, int]
"""Inode, size and times of change: what differs when a file was written, or put here, anew."""


class NoUsableModel(ValueError):
    """There is nothing to serve; the message says where was looked and what is wrong."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """Hold a checkpoint file that was found, and what its header says or why it cannot be used.

    ``key`` is ``name@version``, or the stem of a file that has neither. ``signature`` is that of the file when it was
    read; there is none of a file that could not be.
    """

    path: Path
    key: str
    inspection: Inspection | None = None
    problem: str | None = None
    signature: Signature | None = None

    @property
    def name(self) -> str:
        """Give the model's name."""
        return self.key if self.inspection is None else self.inspection.header.name


@dataclass(slots=True)
class _Seen:
    candidate: Candidate | None
    signature: Signature | None
    is_settled: bool = True


class Catalog:
    """Look at a checkpoint file, or at all in a folder, again and again.

    Raises:
        NoUsableModel: At the first look the path does not exist or cannot be read, or the folder is empty.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: dict[Path, _Seen] = {}
        files = _find(path)
        if not files:
            raise NoUsableModel(f"checkpoints: there is no *{SUFFIX} file in {path}")
        for file in files:
            candidate = examine(file)
            self._seen[file] = _Seen(candidate, candidate.signature, is_settled=candidate.signature is not None)

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder that is looked at, and not one file."""
        return self._path.is_dir()

    @property
    def candidates(self) -> list[Candidate]:
        """Give what was found, by path; each has a key of its own."""
        return _key_apart([seen.candidate for seen in self._seen.values() if seen.candidate is not None])

    def look(self) -> list[Candidate]:
        """Look again, and give all candidates. To be called off the event loop.

        Raises:
            NoUsableModel: The path cannot be read now, which says nothing about the files in it.
        """
        found = {file: signature for file in _find(self._path) if (signature := _signature(file)) is not None}
        for file in self._seen.keys() - found.keys():
            del self._seen[file]
        for file, signature in found.items():
            self._follow(file, signature)
        self._seen = dict(sorted(self._seen.items()))
        return self.candidates

    def _follow(self, file: Path, signature: Signature) -> None:
        seen = self._seen.get(file)
        if seen is None:
            self._seen[file] = _Seen(None, signature, is_settled=False)
        elif seen.signature != signature:
            seen.signature, seen.is_settled = signature, False
        elif not seen.is_settled:
            seen.candidate = examine(file)
            seen.is_settled = seen.candidate.signature is not None


def refuse_if_hopeless(candidates: Sequence[Candidate]) -> None:
    """Do nothing while any file can be used.

    Raises:
        NoUsableModel: None can; the message says why of each.
    """
    if all(candidate.problem is not None for candidate in candidates):
        told = "; ".join(f"{candidate.path}: {candidate.problem}" for candidate in candidates)
        raise NoUsableModel(f"checkpoints: none can be used: {told}")


def examine(file: Path) -> Candidate:
    """Read a file's header."""
    signature = _signature(file)
    try:
        inspection = inspect(file)
    except BadCheckpoint as error:
        can_be_read = not isinstance(error.__cause__, OSError)
        key = os.fsencode(file.stem).decode(errors="replace")
        return Candidate(file, key, None, public_words(error, file), signature if can_be_read else None)
    key = f"{inspection.header.name}@{inspection.header.version}"
    return Candidate(file, key, inspection, signature=signature)


def public_words(error: BadCheckpoint, path: Path) -> str:
    """Give an error's message without the folder that the file is in."""
    return str(error).removeprefix(f"{path}: ").replace(str(path), path.name)


def _find(path: Path) -> list[Path]:
    try:
        if not path.exists():
            raise NoUsableModel(f"checkpoints: {path} does not exist")
        if not path.is_dir():
            return [path]
        return sorted(file for file in path.iterdir() if file.name.endswith(SUFFIX))  # glob hides what may not be seen
    except OSError as error:
        raise NoUsableModel(f"checkpoints: {path}: {error.strerror}") from error


def _signature(file: Path) -> Signature | None:
    try:
        status = file.stat()
    except OSError:  # it went away since the folder was listed
        return None
    if not stat.S_ISREG(status.st_mode):
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _key_apart(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Give each a key of its own: the first that can be used has its model's, the others spare ones."""
    keyed: dict[str, Candidate] = {}
    for candidate in candidates:
        if candidate.problem is None:
            keyed.setdefault(candidate.key, candidate)
    for candidate in candidates:
        if keyed.get(candidate.key) is candidate:
            continue
        spare = os.fsencode(candidate.path.stem).decode(errors="replace")
        while spare in keyed:
            spare += SUFFIX
        problem = candidate.problem or f"another file already has the model {candidate.key}"
        keyed[spare] = replace(candidate, key=spare, inspection=None, problem=problem)
    return sorted(keyed.values(), key=lambda candidate: candidate.path)
