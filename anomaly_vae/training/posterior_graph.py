r"""The posterior graph: log p(x, z) at one z per row, with its gradient and its curvature in z.

Tangents carry the Jacobian J of the decoder's output, and those of the hidden layers, so the curvature is exact and
costs little more than the Jacobian:

.. math:: -\nabla^2 \log p(x, z) = P + J^\top D J - \sum_l T_l^\top \mathrm{diag}(\delta_l \phi''(a_l)) T_l

with P the curvature of -log p(z), D the curvature of -log p(x|z) in the decoder's output, :math:`a_l` the input of the
activation :math:`\phi` of layer l, :math:`T_l` the Jacobian of :math:`a_l`, and :math:`\delta_l` the derivative of
log p(x|z) by the activation's output. It may be indefinite. :math:`Q + J^\top F J`, with Q > 0 of the prior and F >= 0
of the heads, is positive definite.

References:
    Fast Exact Multiplication by the Hessian (Pearlmutter, 1994); Pattern Recognition and Machine Learning (Bishop,
    2006), section 5.4
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn

from anomaly_vae.training.decoder_graph import RowParams, linear_layer
from anomaly_vae.training.graph import Graph
from anomaly_vae.training.torch_heads.derivatives import Derivatives
from anomaly_vae.training.vae import VAE

__all__ = ["posterior_graph"]

# Latent dimensions up to which the graph holds the products of all pairs of columns of the first weight: one matrix
# product then gives its term of the curvature. Chosen, not measured: the products take L^2 H numbers.
_MOST_PAIRED = 16


class _Hidden(NamedTuple):
    """Values at the activation of one hidden layer of H units.

    Attributes:
        tangent: Jacobian of the activation's input, (N, L, H); None in the first layer, where it is a weight.
        first, second: First and second derivative of the activation, (N, H).
    """

    tangent: str | None
    first: str
    second: str


def posterior_graph(vae: VAE) -> bytes:
    """Return the ONNX bytes."""
    graph, latent, layout = Graph(), vae.latent_dim, vae.head.layout
    linears = [linear_layer(layer) for layer in vae.decoder if isinstance(layer, nn.Linear)]
    params, jacobian, hidden = _decoder(graph, linears, latent)
    log_prob, of_head = _heads(graph, vae, params)
    by_hidden = _hidden_curvature(graph, linears, hidden, of_head.slope)
    prior = vae.prior.add_derivatives(graph, "z")
    exact = _quadratic(graph, jacobian, of_head.curvature)
    for term in by_hidden:
        exact = graph.add("Sub", exact, term)
    graph.add("Add", exact, prior.curvature, outputs=["curvature"])
    graph.add("Add", _quadratic(graph, jacobian, of_head.information), prior.information, outputs=["information"])
    column = graph.add("Unsqueeze", of_head.slope, graph.integers([2]))
    product = graph.add("Squeeze", graph.add("MatMul", jacobian, column), graph.integers([2]))
    graph.add("Add", product, prior.gradient, outputs=["gradient"])
    graph.add("Add", log_prob, prior.log_prob, outputs=["log_joint"])
    row: list[str | int] = ["N", layout.num_features]
    square: list[str | int] = ["N", latent, latent]
    inputs: dict[str, list[str | int]] = {"x": row, "mask": row, "z": ["N", latent]}
    outputs: dict[str, list[str | int]] = {
        "log_joint": ["N", 1],
        "gradient": ["N", latent],
        "curvature": square,
        "information": square,
    }
    return graph.bytes("posterior", inputs, outputs)


def _decoder(graph: Graph, linears: list[nn.Linear], latent: int) -> tuple[str, str, list[_Hidden]]:
    """Add the decoder; return its output (N, P), the transposed Jacobian (N, L, P) and the hidden layers."""
    value, tangent = "z", ""
    hidden: list[_Hidden] = []
    for i, layer in enumerate(linears):
        value = graph.add("Gemm", value, graph.weight(layer.weight.T), graph.weight(layer.bias))
        if i:
            flat = graph.add("Reshape", tangent, graph.integers([-1, layer.in_features]))
            product = graph.add("MatMul", flat, graph.weight(layer.weight.T))
            tangent = graph.add("Reshape", product, graph.integers([-1, latent, layer.out_features]))
        if layer is linears[-1]:
            break
        sigmoid = graph.add("Sigmoid", value)
        first, second = _silu_derivatives(graph, value, sigmoid)
        hidden.append(_Hidden(tangent if i else None, first, second))
        below = tangent if i else graph.weight(layer.weight.T[None])
        tangent = graph.add("Mul", below, graph.add("Unsqueeze", first, graph.integers([1])))
        value = graph.add("Mul", value, sigmoid)
    if not hidden:  # one layer: the Jacobian is its weight in every row
        ones = graph.add("Add", graph.add("Mul", "z", graph.scalar(0.0)), graph.scalar(1.0))
        by_row = graph.add("Unsqueeze", ones, graph.integers([2]))
        tangent = graph.add("Mul", by_row, graph.weight(linears[0].weight.T[None]))
    return value, tangent, hidden


def _silu_derivatives(graph: Graph, value: str, sigmoid: str) -> tuple[str, str]:
    """Add s (1 + a (1 - s)) and s (1 - s) (2 + a (1 - 2 s)), with s the sigmoid of a."""
    one, two = graph.scalar(1.0), graph.scalar(2.0)
    rest = graph.add("Sub", one, sigmoid)
    first = graph.add("Mul", sigmoid, graph.add("Add", graph.add("Mul", value, rest), one))
    tilt = graph.add("Mul", value, graph.add("Sub", rest, sigmoid))
    second = graph.add("Mul", graph.add("Mul", sigmoid, rest), graph.add("Add", tilt, two))
    return first, second


def _heads(graph: Graph, vae: VAE, params: str) -> tuple[str, Derivatives]:
    """Add log p(x|z), shape (N, 1), and its derivatives by the decoder's output, (N, P)."""
    layout = vae.head.layout
    given = RowParams(graph, layout.blocks, params)
    sizes = [block.num_features for block in layout.blocks]
    total, parts = "", []
    inputs = zip(vae.head.pairs(), graph.split("x", sizes), graph.split("mask", sizes), strict=True)
    for (block, head), x, mask in inputs:
        term = head.onnx_log_prob(graph, given, x, mask)
        total = graph.add("Add", total, term) if total else term
        parts.append(head.onnx_derivatives(graph, given.parts[block.kind], x, mask))
    joined = [each[0] if len(parts) == 1 else graph.add("Concat", *each, axis=1) for each in zip(*parts, strict=True)]
    return total, Derivatives(*joined)


def _hidden_curvature(graph: Graph, linears: list[nn.Linear], hidden: list[_Hidden], slope: str) -> list[str]:
    """Add the term of every hidden layer in the sum of the curvature, (N, L, L) each."""
    terms, delta = [], slope
    for i in reversed(range(len(hidden))):
        delta = graph.add("MatMul", delta, graph.weight(linears[i + 1].weight))
        tangent, first, second = hidden[i]
        bend = graph.add("Mul", delta, second)
        terms.append(
            _quadratic(graph, tangent, bend) if tangent else _quadratic_of_weight(graph, linears[i].weight, bend)
        )
        delta = graph.add("Mul", delta, first)
    return terms


def _quadratic(graph: Graph, tangent: str, diagonal: str) -> str:
    """Add the product of a matrix (N, L, H), a diagonal matrix (N, H) and the transposed matrix, (N, L, L)."""
    scaled = graph.add("Mul", tangent, graph.add("Unsqueeze", diagonal, graph.integers([1])))
    return graph.add("MatMul", scaled, graph.add("Transpose", tangent, perm=[0, 2, 1]))


def _quadratic_of_weight(graph: Graph, weight: Tensor, diagonal: str) -> str:
    """Add the same for a weight (H, L), transposed, that all rows share."""
    latent = weight.shape[1]
    if latent > _MOST_PAIRED:
        scaled = graph.add("Mul", graph.weight(weight.T[None]), graph.add("Unsqueeze", diagonal, graph.integers([1])))
        return graph.add("MatMul", scaled, graph.weight(weight))
    pairs = (weight[:, :, None] * weight[:, None, :]).reshape(-1, latent * latent)
    product = graph.add("MatMul", diagonal, graph.weight(pairs))
    return graph.add("Reshape", product, graph.integers([-1, latent, latent]))
