"""Count who still needs a thing, so that it ends only after the last of them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager


class Holds:
    """Count those who hold a thing at the moment."""

    def __init__(self) -> None:
        self._count = 0
        self._is_free = asyncio.Event()
        self._is_free.set()

    @property
    def count(self) -> int:
        """Say how many there are."""
        return self._count

    @contextmanager
    def held(self) -> Iterator[None]:
        """Be one of them."""
        self._count += 1
        self._is_free.clear()
        try:
            yield
        finally:
            self._count -= 1
            if self._count == 0:
                self._is_free.set()

    async def until_free(self) -> None:
        """Wait until there is none."""
        await self._is_free.wait()
