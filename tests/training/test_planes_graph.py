"""Arrangements of features and parameters in a graph, against torch."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
import torch

from anomaly_vae.training.convolutions import FromPlanes, ToPlanes
from anomaly_vae.training.graph import Graph
from anomaly_vae.training.planes_graph import add_parameters, add_planes
from tests.support.shapes import shaped_vae


def session_of(graph, shape, values):
    data = graph.bytes("test", {"x": ["N", *shape]}, {"out": ["N", *values.shape[1:]]})
    return onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("heads", [("learned",), ("learned", "bernoulli", "learned"), ("conditional", "conditional")])
def test_the_graph_arranges_as_torch_does(heads):
    plane = (3, 4)
    blocks = shaped_vae(plane, heads).head.layout.blocks
    rng = np.random.default_rng(0)
    to_planes, from_planes = ToPlanes(blocks, plane), FromPlanes(blocks, plane)
    features = rng.normal(size=(5, 12 * len(heads))).astype(np.float32)
    planes = rng.normal(size=(5, sum(from_planes.planes), *plane)).astype(np.float32)
    for values, layer, add in ((features, to_planes, add_planes), (planes, from_planes, add_parameters)):
        expected = layer(torch.as_tensor(values)).detach().numpy()
        graph = Graph()
        graph.add("Add", add(graph, layer, "x"), graph.scalar(0.0), outputs=["out"])
        (got,) = session_of(graph, values.shape[1:], expected).run(["out"], {"x": values})
        np.testing.assert_array_equal(got, expected)
