"""MLServer in the serving benchmark: a custom runtime around a fused graph, as in MLServer's documentation."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse
from onnx_rows import OnnxRows

__all__ = ["FusedGraph"]


class FusedGraph(MLModel):
    """Serves x -> log_px."""

    async def load(self) -> bool:
        """Open the graph named by the model's settings."""
        parameters = self.settings.parameters
        self._run = OnnxRows(parameters.uri, parameters.extra["tile_rows"])
        # One thread, because the other servers have one compute thread.
        self._pool = ThreadPoolExecutor(1) if parameters.extra["in_thread"] else None
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Compute one request, or a batch of requests that MLServer has joined."""
        x = np.ascontiguousarray(NumpyCodec.decode_input(payload.inputs[0]), dtype=np.float32)
        if self._pool:
            log_px = await asyncio.get_running_loop().run_in_executor(self._pool, self._run, x)
        else:
            log_px = self._run(x)
        return InferenceResponse(model_name=self.name, outputs=[NumpyCodec.encode_output("log_px", log_px)])
