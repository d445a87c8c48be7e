"""Serve with Ray Serve: one replica, its own batching."""

import asyncio
import logging
import os
import sys
from collections.abc import Sequence

import ray
from ray import serve
from ray.serve.config import HTTPOptions
from ray.serve.schema import LoggingConfig
from starlette.requests import Request
from starlette.responses import Response

from benchmarks.peers.peer import read_task


@serve.deployment(max_ongoing_requests=1024)  # its default, 5, would never fill a batch
class Segment:
    """Segment the JPEG that a request's body is."""

    def __init__(self) -> None:
        from benchmarks.peers.work import load  # noqa: PLC0415  # driver and proxy need no torch

        task = read_task(os.environ)
        self._work = load(task)
        self._segment.set_max_batch_size(task.max_batch_size)
        self._segment.set_batch_wait_timeout_s(task.max_delay)

    async def __call__(self, request: Request) -> Response:
        """Answer the mask; a GET is answered once the replica is there."""
        if request.method == "GET":
            return Response("ready")
        return Response(await self._segment(await request.body()), media_type="image/png")

    @serve.batch
    async def _segment(self, jpegs: Sequence[bytes]) -> list[bytes]:
        return await asyncio.to_thread(self._work, jpegs)


def main() -> None:
    """Serve on the port that is told."""
    quiet = LoggingConfig(log_level=logging.WARNING, enable_access_log=False)
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=True, logging_level=logging.WARNING)
    serve.start(http_options=HTTPOptions(host="127.0.0.1", port=int(sys.argv[1])), logging_config=quiet)
    serve.run(Segment.bind(), route_prefix="/segment", blocking=True, logging_config=quiet)


if __name__ == "__main__":
    main()
