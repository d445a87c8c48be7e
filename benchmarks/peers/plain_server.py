"""Serve with FastAPI and a batcher of a few lines, as one does without a server for models: the floor.

Whatever has come while a batch was worked on is the next batch.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn
from fastapi import FastAPI, Request, Response

from benchmarks.peers.peer import read_task
from benchmarks.peers.work import Work, load

Waiting = asyncio.Queue[tuple[bytes, asyncio.Future[bytes]]]


@asynccontextmanager
async def _batching(app: FastAPI) -> AsyncIterator[None]:
    app.state.waiting = Waiting()
    task = read_task(os.environ)
    work = load(task)
    async with asyncio.TaskGroup() as tasks:
        batcher = tasks.create_task(_batch(app.state.waiting, work, task.max_batch_size))
        yield
        batcher.cancel()


async def _batch(waiting: Waiting, work: Work, max_batch_size: int) -> None:
    while True:
        batch = [await waiting.get()]
        while len(batch) < max_batch_size and not waiting.empty():
            batch.append(waiting.get_nowait())
        answers = await asyncio.to_thread(work, [body for body, _ in batch])
        for (_, answer), png in zip(batch, answers, strict=True):
            answer.set_result(png)


app = FastAPI(lifespan=_batching)


@app.get("/health")
def health() -> str:
    """Say that it is there; nothing listens before the network is loaded."""
    return "ok"


@app.post("/segment")
async def segment(request: Request) -> Response:
    """Answer the mask of the JPEG in the body."""
    answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
    request.app.state.waiting.put_nowait((await request.body(), answer))
    return Response(await answer, media_type="image/png")


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), access_log=False, log_level="warning")
