"""Features as planes, and planes as parameters of p(x|z), in a graph: see :mod:`anomaly_vae.training.convolutions`."""

from __future__ import annotations

from anomaly_vae.training.convolutions import FromPlanes, ToPlanes
from anomaly_vae.training.graph import Graph

__all__ = ["add_parameters", "add_planes"]


def add_parameters(graph: Graph, layer: FromPlanes, value: str) -> str:
    """Add planes (N, planes, H, W) in the order of the parameters, without their bias, (N, P)."""
    height, width = layer.plane
    parts = []
    sizes = zip(graph.split(value, layer.planes, axis=1), layer.repeats, layer.channels, strict=True)
    for part, repeats, channels in sizes:
        cells = repeats * channels * height * width
        by_kind = part
        if channels > 1:
            by_channel = graph.add("Reshape", part, graph.integers([-1, repeats, channels, height * width]))
            by_kind = graph.add("Transpose", by_channel, perm=[0, 1, 3, 2])
        parts.append(graph.add("Reshape", by_kind, graph.integers([-1, cells])))
    return parts[0] if len(parts) == 1 else graph.add("Concat", *parts, axis=1)


def add_planes(graph: Graph, layer: ToPlanes, value: str) -> str:
    """Add features (N, F) as planes, (N, C, H, W)."""
    height, width = layer.plane
    cells = [height * width * channels for channels in layer.channels]
    parts = []
    for part, channels in zip(graph.split(value, cells, axis=1), layer.channels, strict=True):
        by_channel = part
        if channels > 1:
            by_cell = graph.add("Reshape", part, graph.integers([-1, height * width, channels]))
            by_channel = graph.add("Transpose", by_cell, perm=[0, 2, 1])
        parts.append(graph.add("Reshape", by_channel, graph.integers([-1, channels, height, width])))
    return parts[0] if len(parts) == 1 else graph.add("Concat", *parts, axis=1)
