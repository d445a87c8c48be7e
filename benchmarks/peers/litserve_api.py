"""Serve with LitServe: one inference worker, one process for HTTP, its own batching."""

import os
import sys
from collections.abc import Sequence
from typing import Annotated

import litserve
from fastapi import Body, Response

from benchmarks.peers.peer import read_task

Jpeg = Annotated[bytes, Body(media_type="image/jpeg")]


class SegmentAPI(litserve.LitAPI):
    """Segment the JPEG that a request's body is."""

    def setup(self, device: str) -> None:  # noqa: ARG002  # LitServe's signature
        """Load the network, in the worker alone."""
        from benchmarks.peers.work import load  # noqa: PLC0415  # the process for HTTP needs no torch

        self._work = load(read_task(os.environ))

    def decode_request(self, request: Jpeg) -> bytes:
        """Give the body as it is."""
        return request

    def predict(self, jpegs: Sequence[bytes]) -> list[bytes]:
        """Give the masks of a batch."""
        return self._work(jpegs)

    def encode_response(self, png: bytes) -> Response:
        """Give the mask as it is."""
        return Response(png, media_type="image/png")


def main() -> None:
    """Serve on the port that is told."""
    task = read_task(os.environ)
    api = SegmentAPI(max_batch_size=task.max_batch_size, batch_timeout=task.max_delay, api_path="/segment")
    # Without a wait (batch_timeout=0) its worker spins while idle, on a core that the network needs, and answers a
    # third fewer. fast_queue, advised from 100 requests a second on, made no difference that stood out of the noise;
    # workers_per_device above 1 would hold the network more than once.
    server = litserve.LitServer(api, accelerator="cpu", timeout=False, fast_queue=True)
    server.run(
        host="127.0.0.1", port=int(sys.argv[1]), log_level="warning", access_log=False, generate_client_file=False
    )


if __name__ == "__main__":
    main()
