"""Serve with PyTriton: Triton's own HTTP server and dynamic batching, one Python function behind them."""

import logging
import os
import signal
import sys

import numpy as np
from numpy.typing import NDArray
from pytriton.decorators import batch
from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig

from benchmarks.peers.peer import read_task
from benchmarks.peers.work import load


def main() -> None:
    """Serve on the port that is told."""
    logging.basicConfig(level=logging.WARNING)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # or its working folders would stay, 22 MB each
    task = read_task(os.environ)
    work = load(task)

    @batch
    def segment(image: NDArray[np.object_]) -> list[NDArray[np.object_]]:
        """Give the masks ``[B, 1]`` of JPEGs ``[B, 1]``."""
        return [np.array(work(image[:, 0].tolist()), dtype=np.object_)[:, None]]

    config = TritonConfig(http_address="127.0.0.1", http_port=int(sys.argv[1]), allow_grpc=False, allow_metrics=False)
    # An image is one element of bytes, so that images of any size have one shape: Triton batches no others together.
    batching = DynamicBatcher(max_queue_delay_microseconds=round(1e6 * task.max_delay))
    with Triton(config=config) as triton:
        triton.bind(
            model_name="segment",
            infer_func=segment,
            inputs=[Tensor(name="image", dtype=bytes, shape=(1,))],
            outputs=[Tensor(name="mask", dtype=bytes, shape=(1,))],
            config=ModelConfig(max_batch_size=task.max_batch_size, batcher=batching),
        )
        triton.serve()


if __name__ == "__main__":
    main()
