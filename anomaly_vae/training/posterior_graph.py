r"""The posterior graph: log p(x, z) at one z per row, with its gradient and its curvature in z.

Tangents carry the Jacobian J of the decoder's output, and those of the hidden layers, so the curvature is exact and
costs little more than the Jacobian (see :mod:`anomaly_vae.training.layer_graphs`):

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

import torch
from torch import Tensor, nn

from anomaly_vae.training.bends import quadratic
from anomaly_vae.training.decoder_graph import RowParams
from anomaly_vae.training.graph import Graph
from anomaly_vae.training.layer_graphs import ChainGraph
from anomaly_vae.training.tangents import Tangents
from anomaly_vae.training.torch_heads.derivatives import Derivatives
from anomaly_vae.training.vae import VAE

__all__ = ["posterior_graph"]


def posterior_graph(vae: VAE) -> bytes:
    """Return the ONNX bytes."""
    graph, latent, layout = Graph(), vae.latent_dim, vae.head.layout
    inner = latent - vae.num_levels
    decoder = ChainGraph(graph, vae.decoder, (inner,), latent)
    params, jacobian = _decoder(graph, vae, decoder)
    log_prob, of_head = _heads(graph, vae, params)
    decoder.pull(of_head.slope)
    prior = vae.prior.add_derivatives(graph, "z")
    exact = quadratic(graph, jacobian, of_head.curvature)
    for term in decoder.bends():
        exact = graph.add("Sub", exact, term)
    graph.add("Add", exact, prior.curvature, outputs=["curvature"])
    graph.add("Add", quadratic(graph, jacobian, of_head.information), prior.information, outputs=["information"])
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


def _decoder(graph: Graph, vae: VAE, decoder: ChainGraph) -> tuple[str, str]:
    """Add the decoder's output, (N, P), and its transposed Jacobian, (N, L, P)."""
    latent, levels = vae.latent_dim, vae.levels
    if levels is None:
        params = decoder.value("z")
        return params, _jacobian(graph, decoder, torch.eye(latent))
    of_levels, rest = graph.split("z", [levels.number, latent - levels.number])
    params = graph.add("Add", decoder.value(rest), graph.add("MatMul", of_levels, graph.weight(levels.place)))
    jacobian = _jacobian(graph, decoder, torch.eye(latent)[:, levels.number :])
    by_level = nn.functional.pad(levels.place, (0, 0, 0, latent - levels.number))
    return params, graph.add("Add", jacobian, graph.weight(by_level[None]))


def _jacobian(graph: Graph, decoder: ChainGraph, start: Tensor) -> str:
    """Add the transposed Jacobian of the decoder's layers, (N, L, P), from that of their input, (L, inner)."""
    tangents, latent = decoder.push(Tangents("", start)), len(start)
    if tangents.shared is None:
        return graph.add("Reshape", tangents.name, graph.integers([-1, latent, *decoder.dims]))
    # One layer: the Jacobian is its weight in every row.
    ones = graph.add("Add", graph.add("Mul", "z", graph.scalar(0.0)), graph.scalar(1.0))
    by_row = graph.add("Unsqueeze", ones, graph.integers([2]))
    return graph.add("Mul", by_row, graph.weight(tangents.shared[None]))


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
