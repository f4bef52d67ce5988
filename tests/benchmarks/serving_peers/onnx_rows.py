"""Run a fused graph on one thread, one tile of rows at a time, in the peers' environments."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

__all__ = ["OnnxRows"]


class OnnxRows:
    """x (N, F) -> log p(x) (N,), in model units."""

    def __init__(self, graph: str, tile_rows: int) -> None:
        """Load a graph; more rows than ``tile_rows`` are cut into tiles."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(Path(graph).read_bytes(), options)
        self._tile_rows = tile_rows

    def __call__(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return log p(x) of all rows, in order."""
        starts = range(0, len(x), self._tile_rows)
        parts = [self._session.run(None, {"x": x[start : start + self._tile_rows]})[0] for start in starts]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)
