"""The trained networks as ONNX graphs of standard operators; noise is an input of the graph."""

from __future__ import annotations

import numpy as np

from anomaly_vae.bundle.manifest import member_suffix
from anomaly_vae.training.decoder_graph import decoder_params, shared_params
from anomaly_vae.training.graph import Graph
from anomaly_vae.training.layer_graphs import add_layers
from anomaly_vae.training.levels import LEVEL_SCALE
from anomaly_vae.training.networks import INPUT_LIMIT, LOG_VAR_LIMIT
from anomaly_vae.training.planes_graph import add_planes
from anomaly_vae.training.posterior_graph import posterior_graph
from anomaly_vae.training.vae import VAE

__all__ = ["export_graphs"]


def export_graphs(vae: VAE, member: int = 0) -> dict[str, bytes]:
    """Return the ONNX bytes of a member's graphs, by file name."""
    graphs = {
        "encoder": _encoder(vae),
        "decoder": _decoder(vae),
        "log_joint": _log_joint(vae),
        "posterior": posterior_graph(vae),
        "likelihood": _likelihood(vae),
    }
    return {f"{name}{member_suffix(member)}.onnx": data for name, data in graphs.items()}


def _encoder(vae: VAE) -> bytes:
    graph, latent = Graph(), vae.latent_dim
    unit, shift = vae.encoder.get_buffer("unit"), vae.encoder.get_buffer("shift")
    x = "x"
    if bool((shift != 0).any() or (unit != 1).any()):
        x = graph.add("Mul", graph.add("Sub", x, graph.weight(shift)), graph.weight(1.0 / unit))
    clipped, levels = graph.clip(x, INPUT_LIMIT), vae.encoder.levels
    means = ""
    if levels is not None:
        total = graph.add("MatMul", graph.add("Mul", clipped, "mask"), graph.weight(levels.pick))
        count = graph.add("Clip", graph.add("MatMul", "mask", graph.weight(levels.pick)), graph.scalar(1.0))
        means = graph.add("Div", total, count)
        clipped = graph.add("Sub", clipped, graph.add("MatMul", means, graph.weight(levels.pick.T)))
    parts = [graph.add("Mul", clipped, "mask"), "mask"]
    dims: tuple[int, ...] = (2 * vae.head.layout.num_features,)
    if vae.encoder.planes is not None:
        parts = [add_planes(graph, vae.encoder.planes, part) for part in parts]
        dims = (2 * sum(vae.encoder.planes.channels), *vae.encoder.planes.plane)
    inputs = graph.add("Concat", *parts, axis=1)
    loc, raw_log_var = graph.split(add_layers(graph, vae.encoder.net, inputs, dims), [latent, latent])
    low, high = LOG_VAR_LIMIT
    if levels is None:
        graph.add("Add", loc, graph.scalar(0.0), outputs=["loc"])
    else:
        to_latent = graph.weight(np.eye(levels.number, latent) / LEVEL_SCALE)
        graph.add("Add", loc, graph.add("MatMul", means, to_latent), outputs=["loc"])
    graph.add("Clip", raw_log_var, graph.scalar(low), graph.scalar(high), outputs=["log_var"])
    row: list[str | int] = ["N", vae.head.layout.num_features]
    return graph.bytes("encoder", {"x": row, "mask": row}, {"loc": ["N", latent], "log_var": ["N", latent]})


def _decoder(vae: VAE) -> bytes:
    graph, levels = Graph(), vae.levels
    if levels is None:
        add_layers(graph, vae.decoder, "z", (vae.latent_dim,), ["params"])
    else:
        of_levels, rest = graph.split("z", [levels.number, vae.latent_dim - levels.number])
        shapes = add_layers(graph, vae.decoder, rest, (vae.latent_dim - levels.number,))
        graph.add("Add", shapes, graph.add("MatMul", of_levels, graph.weight(levels.place)), outputs=["params"])
    return graph.bytes("decoder", {"z": ["N", vae.latent_dim]}, {"params": ["N", vae.head.layout.num_params]})


def _log_joint(vae: VAE) -> bytes:
    """Return the graph where nearly all time of scoring is spent: log p(x, z) at z = loc + scale * noise.

    Beside the large matrix products, the time goes into operations on arrays with one entry per pair of row and sample
    and column, so the graph has as few of them as possible.
    """
    graph, latent, layout = Graph(), vae.latent_dim, vae.head.layout
    z = _samples(graph)
    decoder = decoder_params(graph, layout.blocks, vae.decoder, vae.levels, z)
    sizes = [block.num_features for block in layout.blocks]
    total = vae.prior.add_log_prob(graph, z)
    for (block, head), x, mask in zip(
        vae.head.pairs(), graph.split("x", sizes), graph.split("mask", sizes), strict=True
    ):
        term = head.onnx_log_prob(graph, decoder, x, mask)
        total = graph.add("Add", total, term, outputs=["log_joint"] if block is layout.blocks[-1] else [])
    row: list[str | int] = ["N", layout.num_features]
    inputs: dict[str, list[str | int]] = {
        "x": row,
        "mask": row,
        "loc": ["N", latent],
        "scale": ["N", latent],
        "noise": ["M", "S", latent],
    }
    return graph.bytes("log_joint", inputs, {"log_joint": ["N", "S"]})


def _samples(graph: Graph) -> str:
    """Add loc + scale * noise, shape (N, L, S); the noise is (1, S, L) for all rows, or (N, S, L)."""
    by_dim = graph.add("Transpose", "noise", perm=[0, 2, 1])
    loc, scale = (graph.add("Unsqueeze", name, graph.integers([2])) for name in ("loc", "scale"))
    return graph.add("Add", graph.add("Mul", by_dim, scale), loc)


def _likelihood(vae: VAE) -> bytes:
    """Return the graph of log p(x|z) for all pairs of a row and given decoder outputs."""
    graph, layout = Graph(), vae.head.layout
    given = shared_params(graph, layout.blocks, "params")
    sizes = [block.num_features for block in layout.blocks]
    total = ""
    parts = zip(vae.head.pairs(), graph.split("x", sizes), graph.split("mask", sizes), strict=True)
    for (_, head), x, mask in parts:
        term = head.onnx_log_prob(graph, given, x, mask)
        total = graph.add("Add", total, term) if total else term
    graph.add("Add", total, graph.scalar(0.0), outputs=["log_likelihood"])
    row: list[str | int] = ["N", layout.num_features]
    inputs: dict[str, list[str | int]] = {"x": row, "mask": row, "params": ["S", layout.num_params]}
    return graph.bytes("likelihood", inputs, {"log_likelihood": ["N", "S"]})
