"""The trained networks as ONNX graphs of standard operators; noise is an input of the graph."""

from __future__ import annotations

from anomaly_vae.bundle.manifest import member_suffix
from anomaly_vae.training.decoder_graph import decoder_params, shared_params
from anomaly_vae.training.graph import Graph
from anomaly_vae.training.networks import INPUT_LIMIT, LOG_VAR_LIMIT
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
    clipped = graph.clip(x, INPUT_LIMIT)
    inputs = graph.add("Concat", graph.add("Mul", clipped, "mask"), "mask", axis=1)
    loc, raw_log_var = graph.split(graph.mlp(vae.encoder.net, inputs), [latent, latent])
    low, high = LOG_VAR_LIMIT
    graph.add("Add", loc, graph.scalar(0.0), outputs=["loc"])
    graph.add("Clip", raw_log_var, graph.scalar(low), graph.scalar(high), outputs=["log_var"])
    row: list[str | int] = ["N", vae.head.layout.num_features]
    return graph.bytes("encoder", {"x": row, "mask": row}, {"loc": ["N", latent], "log_var": ["N", latent]})


def _decoder(vae: VAE) -> bytes:
    graph = Graph()
    graph.mlp(vae.decoder, "z", output="params")
    return graph.bytes("decoder", {"z": ["N", vae.latent_dim]}, {"params": ["N", vae.head.layout.num_params]})


def _log_joint(vae: VAE) -> bytes:
    """Return the graph where nearly all time of scoring is spent: log p(x, z) at z = loc + scale * noise.

    Beside the large matrix products, the time goes into operations on arrays with one entry per pair of row and sample
    and column, so the graph has as few of them as possible.
    """
    graph, latent, layout = Graph(), vae.latent_dim, vae.head.layout
    z = _samples(graph)
    decoder = decoder_params(graph, layout.blocks, vae.decoder, graph.add("Transpose", z, perm=[0, 2, 1]))
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
