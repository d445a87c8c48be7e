"""Refuse a file that cannot or shall not be written, before the work for it begins."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from training.errors import InvalidOption


def check_target(out: Path, *, option: str, suffix: str, sources: Iterable[Path], overwrite: bool) -> None:
    """See that ``out``, as ``option`` names it, can be made of ``sources`` and is nobody's yet.

    Raises:
        InvalidOption: its folder is missing, it is a source, has another suffix, or is a folder; or it is there and
            ``overwrite`` is not said.
    """
    if not out.parent.is_dir():
        raise InvalidOption(f"{option} {out}: there is no folder {out.parent}")
    if out.exists() and any(source.exists() and out.samefile(source) for source in sources):
        raise InvalidOption(f"{option} {out}: is what shall be read; name another file")
    if out.suffix != suffix:
        raise InvalidOption(f"{option} {out}: name a file that ends in {suffix}")
    if out.is_dir():
        raise InvalidOption(f"{option} {out}: is a folder; name a file")
    if (out.exists() or out.is_symlink()) and not overwrite:  # a link to nothing is somebody's, too
        raise InvalidOption(f"{option} {out}: is there already; --overwrite replaces it")
