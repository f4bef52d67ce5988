"""Run a part of an ONNX graph that is under construction."""

from __future__ import annotations

import copy

import numpy as np
import onnxruntime
from onnx import TensorProto

from anomaly_vae.training.graph import Graph

__all__ = ["run_graph"]


def run_graph(graph: Graph, value: str, **inputs: np.ndarray) -> np.ndarray:
    """Return a value of the graph for inputs in float32; other nodes may be added to the graph afterwards."""
    part = copy.deepcopy(graph)
    part.add("Reshape", value, part.integers([-1]), outputs=["flat"])
    part.add("Cast", part.add("Shape", value), outputs=["shape"], to=TensorProto.FLOAT)
    shapes = {name: [f"{name}{axis}" for axis in range(of.ndim)] for name, of in inputs.items()}
    data = part.bytes("part", shapes, {"flat": ["values"], "shape": ["axes"]})  # declared outputs need their rank
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    flat, shape = session.run(["flat", "shape"], {name: of.astype(np.float32) for name, of in inputs.items()})
    return flat.reshape(shape.astype(int))
