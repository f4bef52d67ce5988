"""Triton in the serving benchmark: fused graphs behind its Python backend, set up with nvidia-pytriton.

python triton_server.py GRPC_PORT HTTP_PORT SETTINGS

SETTINGS is JSON with max_batch_rows, delay_microseconds and models: objects with name, graph, columns and tile_rows.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from onnx_rows import OnnxRows
from pytriton.decorators import batch
from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig

Arrays = dict[str, NDArray[np.float32]]


def callable_of(run: OnnxRows) -> Callable[..., object]:
    """Return the function that Triton calls with batches of requests."""

    @batch
    def infer(x: NDArray[np.float32]) -> Arrays:
        return {"log_px": run(x)[:, None]}

    return infer


def main(grpc_port: int, http_port: int, max_batch_rows: int, delay_microseconds: int, models: list[dict]) -> None:
    """Serve until a signal."""
    config = TritonConfig(
        grpc_address="127.0.0.1",
        grpc_port=grpc_port,
        http_address="127.0.0.1",
        http_port=http_port,
        allow_metrics=False,
        exit_timeout_secs=5,
    )
    batcher = DynamicBatcher(max_queue_delay_microseconds=delay_microseconds)
    with Triton(config=config) as triton:
        for model in models:
            triton.bind(
                model_name=model["name"],
                infer_func=callable_of(OnnxRows(model["graph"], model["tile_rows"])),
                inputs=[Tensor(name="x", dtype=np.float32, shape=(model["columns"],))],
                outputs=[Tensor(name="log_px", dtype=np.float32, shape=(1,))],
                config=ModelConfig(batching=True, max_batch_size=max_batch_rows, batcher=batcher),
            )
        triton.serve()


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    main(int(sys.argv[1]), int(sys.argv[2]), **json.loads(sys.argv[3]))
