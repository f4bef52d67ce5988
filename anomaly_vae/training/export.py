"""The trained networks as ONNX graphs of standard operators; noise is an input of the graph."""

from __future__ import annotations

from anomaly_vae.arrays import LOG_2PI
from anomaly_vae.bundle.manifest import member_suffix
from anomaly_vae.training.decoder_graph import DecoderGraph
from anomaly_vae.training.graph import Graph
from anomaly_vae.training.networks import INPUT_LIMIT, LOG_VAR_LIMIT
from anomaly_vae.training.vae import VAE

__all__ = ["export_graphs"]


def export_graphs(vae: VAE, member: int = 0) -> dict[str, bytes]:
    """Return the ONNX bytes of encoder, decoder and log-joint, by file name."""
    end = f"{member_suffix(member)}.onnx"
    return {f"encoder{end}": _encoder(vae), f"decoder{end}": _decoder(vae), f"log_joint{end}": _log_joint(vae)}


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
    r"""Return the graph where nearly all time of scoring is spent, for all pairs of a row and a sample.

    .. math:: \log p(x, z) = \log p(z) + \sum_d m_d \log p(x_d \mid z)

    z itself is never computed. With :math:`z = \mu + \sigma \odot e`, the first layer's :math:`W z + b` is the product
    of (e, 1) with one matrix per row, and log p(z) is linear in (e, e^2). Beside the large matrix products, the time
    goes into operations on arrays with one entry per pair and column, so the graph has as few of them as possible.
    """
    graph, latent, layout = Graph(), vae.latent_dim, vae.head.layout
    decoder = DecoderGraph(graph, vae.decoder)
    sizes = [block.num_features for block in layout.blocks]
    total = _log_prior(graph, latent)
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
        "noise": ["S", latent],
    }
    return graph.bytes("log_joint", inputs, {"log_joint": ["N", "S"]})


def _log_prior(graph: Graph, latent_dim: int) -> str:
    """Add log N(loc + scale noise; 0, I), shape (N, S), as (loc^2, loc scale, scale^2) times (1, 2 noise, noise^2).

    A sum over loc^2 would be shorter, but onnxruntime's sums over short rows change their bits with the row's address
    in memory.
    """
    ones = graph.add("Add", graph.add("Mul", "noise", graph.scalar(0.0)), graph.scalar(1.0))
    powers = graph.add("Concat", ones, graph.add("Add", "noise", "noise"), graph.add("Mul", "noise", "noise"), axis=1)
    squares = [graph.add("Mul", one, other) for one, other in (("loc", "loc"), ("loc", "scale"), ("scale", "scale"))]
    minus_half = graph.add("Mul", graph.add("Concat", *squares, axis=1), graph.scalar(-0.5))
    return graph.add("Gemm", minus_half, powers, graph.scalar(-0.5 * latent_dim * LOG_2PI), transB=1)
