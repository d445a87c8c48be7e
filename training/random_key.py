"""Give every purpose of a run random numbers of its own, whatever else draws some."""

from __future__ import annotations

import hashlib


def random_key(seed: int, *what: int | str) -> int:
    """Give the seed of all random numbers for one purpose, such as one sample in one epoch, in a run of ``seed``."""
    digest = hashlib.sha256(":".join(map(str, (seed, *what))).encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1
