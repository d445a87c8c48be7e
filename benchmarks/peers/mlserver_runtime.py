"""Serve with MLServer: one model in the server's own process, its adaptive batching.

A custom handler takes the picture as a raw body; the protocol's JSON would carry it in base64.
"""

import asyncio
import os
import sys
from concurrent.futures import ThreadPoolExecutor

from fastapi import Request, Response
from mlserver import MLModel, MLServer, ModelSettings, Settings
from mlserver.context import model_context
from mlserver.handlers import custom_handler
from mlserver.types import InferenceRequest, InferenceResponse, RequestInput, ResponseOutput
from mlserver.utils import install_uvloop_event_loop

from benchmarks.peers.peer import free_port, read_task
from benchmarks.peers.work import load


class SegmentModel(MLModel):
    """Segment JPEGs."""

    async def load(self) -> bool:
        """Load the network."""
        self._work = load(read_task(os.environ))
        # The batcher hands on a batch while another is worked on; two at once would fight for torch's threads.
        self._worker = ThreadPoolExecutor(1)
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Give the masks of a batch."""
        jpegs = payload.inputs[0].data.root
        pngs = await asyncio.get_running_loop().run_in_executor(self._worker, self._work, jpegs)
        output = ResponseOutput(name="mask", shape=[len(pngs), 1], datatype="BYTES", data=pngs)
        return InferenceResponse(model_name=self.name, outputs=[output])

    @custom_handler(rest_path="/segment")
    async def segment(self, request: Request) -> Response:
        """Answer the mask of the JPEG that the body is."""
        image = RequestInput(name="image", shape=[1, 1], datatype="BYTES", data=[await request.body()])
        with model_context(self.settings):  # the batcher counts into it
            answer = await self.predict(InferenceRequest(inputs=[image]))
        return Response(answer.outputs[0].data.root[0], media_type="image/png")


async def main(port: int) -> None:
    """Serve on a port."""
    task = read_task(os.environ)
    settings = Settings(
        debug=False, host="127.0.0.1", http_port=port, grpc_port=free_port(), metrics_endpoint=None, parallel_workers=0
    )
    model = ModelSettings(
        name="segment",
        implementation=SegmentModel,
        max_batch_size=task.max_batch_size,
        max_batch_time=task.max_delay,
    )
    await MLServer(settings).start([model])


if __name__ == "__main__":
    install_uvloop_event_loop()
    asyncio.run(main(int(sys.argv[1])))
