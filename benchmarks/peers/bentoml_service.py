"""Serve with BentoML: one service, its adaptive batching.

A batchable API takes lists and is asked over HTTP with JSON, so that pictures travel in base64. The documented other
way, a service of single raw bodies before it by ``bentoml.depends``, was half as fast, and its connections between the
two broke under load (``ServerDisconnectedError``), which clients saw as errors 500.
"""

import os
from base64 import b64decode, b64encode

import bentoml

from benchmarks.peers.peer import read_task

TASK = read_task(os.environ)


@bentoml.service(workers=1, traffic={"timeout": 300}, logging={"access": {"enabled": False}})
class Segment:
    """Segment JPEGs."""

    def __init__(self) -> None:
        from benchmarks.peers.work import load  # noqa: PLC0415  # the process that starts it needs no torch

        self._work = load(TASK)

    @bentoml.api(batchable=True, max_batch_size=TASK.max_batch_size, max_latency_ms=300_000)
    def segment(self, images: list[str]) -> list[str]:
        """Give the masks of a batch."""
        pngs = self._work([b64decode(image) for image in images])
        return [b64encode(png).decode() for png in pngs]
