"""Work for a client as long as it is there."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from fastapi import Request

from service import errors

T = TypeVar("T")


async def unless_client_goes(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Give the work's result, or cancel it when the client hangs up.

    Raises:
        ClientGone: It did.
    """
    working = asyncio.create_task(work)
    leaving = asyncio.create_task(_wait_for_disconnect(request))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise errors.ClientGone("the client hung up before its answer was ready")
    finally:
        leaving.cancel()
        working.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def _wait_for_disconnect(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
