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
    task = asyncio.current_task()
    assert task is not None
    is_working = True

    def stop(leaving: asyncio.Task[None]) -> None:
        if is_working and not leaving.cancelled():
            task.cancel()

    leaving = asyncio.create_task(_wait_for_disconnect(request))
    leaving.add_done_callback(stop)
    try:
        return await work
    except asyncio.CancelledError:
        if not leaving.done():
            raise
        task.uncancel()
        raise errors.ClientGone("the client hung up before its answer was ready") from None
    finally:
        is_working = False
        leaving.cancel()


async def _wait_for_disconnect(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
