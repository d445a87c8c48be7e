"""Refuse files that shall not be written, before anything is read for them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from training.errors import InvalidOption
from training.targets import check_target


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "source.onnx").write_bytes(b"source")
    (tmp_path / "link.onnx").symlink_to(tmp_path / "source.onnx")
    (tmp_path / "folder.onnx").mkdir()
    (tmp_path / "old.onnx").write_bytes(b"old")
    (tmp_path / "dangling.onnx").symlink_to(tmp_path / "nothing")
    return tmp_path


def check(folder: Path, name: str, *, overwrite: bool) -> None:
    sources = [folder / "missing.onnx", folder / "source.onnx"]
    check_target(folder / name, option="--out", suffix=".onnx", sources=sources, overwrite=overwrite)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nowhere/x.onnx", "there is no folder FOLDER/nowhere"),
        ("old.onnx/x.onnx", "there is no folder FOLDER/old.onnx"),
        ("x.pt", "name a file that ends in .onnx"),
        ("source.onnx", "is what shall be read; name another file"),
        ("link.onnx", "is what shall be read; name another file"),
        ("folder.onnx", "is a folder; name a file"),
    ],
)
@pytest.mark.parametrize("overwrite", [True, False])
def test_what_nobody_could_mean_is_refused_in_one_line_that_names_it(
    folder: Path, name: str, said: str, *, overwrite: bool
) -> None:
    line = f"--out FOLDER/{name}: {said}".replace("FOLDER", str(folder))

    with pytest.raises(InvalidOption, match=f"^{re.escape(line)}$"):
        check(folder, name, overwrite=overwrite)


@pytest.mark.parametrize("name", ["old.onnx", "dangling.onnx"])
def test_what_is_there_is_replaced_only_if_asked(folder: Path, name: str) -> None:
    check(folder, name, overwrite=True)

    with pytest.raises(InvalidOption, match=r"onnx: is there already; --overwrite replaces it$"):
        check(folder, name, overwrite=False)


def test_a_new_file_may_be_written(folder: Path) -> None:
    check(folder, "new.onnx", overwrite=False)

    assert not (folder / "new.onnx").exists()
