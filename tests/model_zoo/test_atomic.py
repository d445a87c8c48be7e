import errno
import os
from pathlib import Path

import pytest

from model_zoo.atomic import write_atomically


def refuse(_: int) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_is_told_with_the_file_which_stays_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "scores.json"
    path.write_bytes(b"before")
    monkeypatch.setattr(os, "fsync", refuse)

    with pytest.raises(OSError, match="No space left on device") as caught:
        write_atomically(path, [b"after"])

    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, str(path))
    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == [("scores.json", b"before")]


def test_a_folder_that_is_not_there_is_told_with_the_file(tmp_path: Path) -> None:
    path = tmp_path / "missing" / "scores.json"

    with pytest.raises(FileNotFoundError) as caught:
        write_atomically(path, [b"after"])

    assert caught.value.filename == str(path)


def test_a_folder_in_the_place_of_the_file_is_told_alone(tmp_path: Path) -> None:
    (tmp_path / "scores.json").mkdir()

    with pytest.raises(IsADirectoryError) as caught:
        write_atomically(tmp_path / "scores.json", [b"after"])

    assert (caught.value.filename, caught.value.filename2) == (str(tmp_path / "scores.json"), None)
