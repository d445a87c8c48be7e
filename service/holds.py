"""Count who still needs a thing, so that it ends only after the last of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Holds:
    """Count those who hold a thing at the moment; ``on_change`` hears by how many they change."""

    def __init__(self, *, on_change: Callable[[int], None] = lambda _: None) -> None:
        self._count = 0
        self._on_change = on_change
        self._is_free = asyncio.Event()
        self._is_free.set()

    @property
    def count(self) -> int:
        """Say how many there are."""
        return self._count

    @contextmanager
    def held(self) -> Iterator[None]:
        """Be one of them."""
        self._change(1)
        self._is_free.clear()
        try:
            yield
        finally:
            self._change(-1)
            if self._count == 0:
                self._is_free.set()

    async def until_free(self) -> None:
        """Wait until there is none."""
        await self._is_free.wait()

    def _change(self, by: int) -> None:
        self._count += by
        self._on_change(by)
