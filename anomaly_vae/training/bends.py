"""Parts of the curvature in a graph: derivatives of the activation, and products with tangents on both sides."""

from __future__ import annotations

from torch import Tensor

from anomaly_vae.training.graph import Graph

__all__ = ["quadratic", "shared_quadratic", "silu_derivatives"]

# Latent dimensions up to which the graph holds the products of all pairs of columns of the first weight: one matrix
# product then gives its term of the curvature. Chosen, not measured: the products take L^2 H numbers.
_MOST_PAIRED = 16


def quadratic(graph: Graph, tangents: str, diagonal: str) -> str:
    """Add the product of a matrix (N, L, H), a diagonal matrix (N, H) and the transposed matrix, (N, L, L)."""
    scaled = graph.add("Mul", tangents, graph.add("Unsqueeze", diagonal, graph.integers([1])))
    return graph.add("MatMul", scaled, graph.add("Transpose", tangents, perm=[0, 2, 1]))


def silu_derivatives(graph: Graph, value: str, sigmoid: str) -> tuple[str, str]:
    """Add s (1 + a (1 - s)) and s (1 - s) (2 + a (1 - 2 s)), with s the sigmoid of a."""
    one, two = graph.scalar(1.0), graph.scalar(2.0)
    rest = graph.add("Sub", one, sigmoid)
    first = graph.add("Mul", sigmoid, graph.add("Add", graph.add("Mul", value, rest), one))
    tilt = graph.add("Mul", value, graph.add("Sub", rest, sigmoid))
    second = graph.add("Mul", graph.add("Mul", sigmoid, rest), graph.add("Add", tilt, two))
    return first, second


def shared_quadratic(graph: Graph, tangents: Tensor, diagonal: str) -> str:
    """Add the product of :func:`quadratic` for tangents (L, H) that all rows share."""
    latent = len(tangents)
    if latent > _MOST_PAIRED:
        by_row = graph.add("Unsqueeze", diagonal, graph.integers([1]))
        scaled = graph.add("Mul", graph.weight(tangents[None]), by_row)
        return graph.add("MatMul", scaled, graph.weight(tangents.T))
    pairs = (tangents[:, None, :] * tangents[None, :, :]).reshape(latent * latent, -1)
    product = graph.add("MatMul", diagonal, graph.weight(pairs.T))
    return graph.add("Reshape", product, graph.integers([-1, latent, latent]))
