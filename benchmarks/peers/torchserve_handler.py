"""Be the handler that TorchServe's worker loads from the model archive."""

import os
from collections.abc import Mapping, Sequence

from ts.context import Context

from benchmarks.peers.peer import read_task
from benchmarks.peers.work import load


class SegmentHandler:
    """Segment the JPEGs that the requests' bodies are."""

    def initialize(self, _: Context) -> None:
        """Load the network."""
        self._work = load(read_task(os.environ))

    def handle(self, requests: Sequence[Mapping[str, bytes]], context: Context) -> list[bytes]:
        """Give the masks of a batch; an empty body, as a GET has, asks whether the network is there."""
        bodies = [bytes(request.get("body", b"")) for request in requests]
        pngs = iter(self._work([body for body in bodies if body]))
        for place in range(len(requests)):
            context.set_response_content_type(place, "image/png")
        return [next(pngs) if body else b"ready" for body in bodies]
