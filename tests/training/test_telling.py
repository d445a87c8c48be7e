"""Tell of an export where standard output is closed, full, or nobody reads it."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

import pytest

from training.exporting.quiet import quiet
from training.telling import tell


def unread_pipe() -> TextIO:
    reading, writing = os.pipe()
    os.close(reading)
    return os.fdopen(writing, "w")


def full_disk() -> TextIO:
    return Path("/dev/full").open("w", encoding="utf-8")


@pytest.mark.parametrize(
    ("opened", "said"),
    [
        (unread_pipe, ""),
        (full_disk, "segtrain: x.onnx is written, but not what is told of it: No space left on device\n"),
    ],
)
def test_whoever_does_not_read_has_the_file_all_the_same(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], opened: Callable[[], TextIO], said: str
) -> None:
    output = opened()
    monkeypatch.setattr(sys, "stdout", output)

    tell(["a line"], of=Path("x.onnx"))
    output.close()  # what could not be printed is not tried again when Python ends

    assert capfd.readouterr().err == said


def test_who_has_closed_standard_output_can_export(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    kept = os.dup(1)
    os.close(1)
    try:
        with quiet():
            tell(["a line"], of=Path("x.onnx"))
        lowest = os.dup(kept)
    finally:
        os.dup2(kept, 1)
        os.close(kept)

    assert lowest == 1  # the number was not taken
