"""Read the small files that say in words what weights do not."""

from __future__ import annotations

from pathlib import Path

from training.errors import InvalidImport

MAX_BYTES = 1 << 20


def read_text(path: Path) -> str:
    """Give the text of a file, without the mark that some editors put before it.

    Raises:
        InvalidImport: it is no file, is longer than any such file needs to be, or is no text.
        OSError: it is missing or may not be read.
    """
    if path.exists() and not path.is_file():
        raise InvalidImport(f"{path}: is no file; write the words into one")
    with path.open("rb") as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise InvalidImport(f"{path}: is longer than {MAX_BYTES} bytes")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidImport(f"{path}: is no text in UTF-8") from error
