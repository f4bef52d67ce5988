"""The trained networks as ONNX graphs of standard operators, noise an input of the graph."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from torch import Tensor, nn

from anomaly_vae.densities import FloatArray
from anomaly_vae.layout import Block
from anomaly_vae.likelihood import LOGIT_LIMIT, RAW_LIMIT, LogisticLikelihood, StudentTLikelihood
from anomaly_vae.manifest import suffix
from anomaly_vae.training.graph import Graph
from anomaly_vae.training.networks import INPUT_LIMIT, LOG_VAR_LIMIT
from anomaly_vae.training.vae import VAE

__all__ = ["export_graphs"]


def export_graphs(vae: VAE, member: int = 0) -> dict[str, bytes]:
    """ONNX bytes of encoder, decoder and log-joint, by file name."""
    end = f"{suffix(member)}.onnx"
    return {f"encoder{end}": _encoder(vae), f"decoder{end}": _decoder(vae), f"log_joint{end}": _log_joint(vae)}


def _encoder(vae: VAE) -> bytes:
    graph, latent = Graph(), vae.latent_dim
    unit, shift = vae.encoder.get_buffer("unit"), vae.encoder.get_buffer("shift")
    x = "x"
    if bool((shift != 0).any() or (unit != 1).any()):
        x = graph.add("Mul", graph.add("Sub", x, graph.weight(shift)), graph.weight(1.0 / unit))
    cut = graph.add("Clip", x, graph.scalar(-INPUT_LIMIT), graph.scalar(INPUT_LIMIT))
    seen = graph.add("Concat", graph.add("Mul", cut, "mask"), "mask", axis=1)
    loc, raw_log_var = graph.split(graph.mlp(vae.encoder.net, seen), [latent, latent])
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
    r"""The hot path: :math:`\log p(x, z) = \log p(z) + \sum_d m_d \log p(x_d \mid z)`, all pairs of a tile at once.

    z itself is never made: with :math:`z = \mu + \sigma \odot e`, the first layer's :math:`W z + b` is the product of
    (e, 1) with one matrix a row, and log p(z) is linear in (e, e^2). What costs beside the large products are passes
    over an entry per pair and column, so there are as few of them as can be; and sums over columns are products with
    the mask, whose bits do not depend on where a row stands.
    """
    graph, latent, blocks = Graph(), vae.latent_dim, vae.head.layout.blocks
    output = _Output(graph, vae)
    sizes = [block.num_features for block in blocks]
    total = _log_prior(graph, latent)
    for block, part, x, mask in zip(
        blocks, vae.head.parts, graph.split("x", sizes), graph.split("mask", sizes), strict=True
    ):
        term = _TERMS[block.kind](graph, output, part, x, mask)
        total = graph.add("Add", total, term, outputs=["log_joint"] if block is blocks[-1] else [])
    row: list[str | int] = ["N", vae.head.layout.num_features]
    inputs: dict[str, list[str | int]] = {
        "x": row,
        "mask": row,
        "loc": ["N", latent],
        "scale": ["N", latent],
        "noise": ["S", latent],
    }
    return graph.bytes("log_joint", inputs, {"log_joint": ["N", "S"]})


class _Output:
    """The decoder's output for all pairs, made block by block: no pass over what is then cut up."""

    def __init__(self, graph: Graph, vae: VAE) -> None:
        self._graph = graph
        self._first, self._last = _linear(vae.decoder[0]), _linear(vae.decoder[-1])
        if self._first is not self._last:
            self._hidden = self._last_hidden(vae)

    def params(self, block: Block, places: slice = slice(None)) -> str:
        """The block's parameters, or some of them, shape (N, S, P)."""
        weight, bias = self._layer(block, places)
        if self._first is self._last:
            return _first_layer(self._graph, weight, bias)
        product = self._graph.add("MatMul", self._hidden, self._graph.weight(weight.T))
        return self._graph.add("Add", product, self._graph.weight(bias))

    def residual(self, block: Block, x: str, places: slice = slice(None)) -> str:
        """x minus the block's parameters, or minus some of them, shape (N, S, G)."""
        graph = self._graph
        weight, bias = self._layer(block, places)
        if self._first is self._last:
            minus, target = _first_layer(graph, -weight, -bias), x
        else:
            minus = graph.add("MatMul", self._hidden, graph.weight(-weight.T))
            target = graph.add("Sub", x, graph.weight(bias))
        return graph.add("Add", minus, graph.add("Unsqueeze", target, graph.integers([1])))

    def _layer(self, block: Block, places: slice) -> tuple[Tensor, Tensor]:
        return self._last.weight[block.params][places], self._last.bias[block.params][places]

    def _last_hidden(self, vae: VAE) -> str:
        """What the last layer multiplies, shape (N, S, H)."""
        graph, first, last = self._graph, self._first, self._last
        hidden = _first_layer(graph, first.weight, first.bias)
        flat = graph.add("Reshape", hidden, graph.integers([-1, first.out_features]))
        flat = graph.mlp(nn.Sequential(*list(vae.decoder)[1:-1]), flat)
        rows = graph.add("Shape", "x", start=0, end=1)
        tile = graph.add("Concat", rows, graph.integers([-1, last.in_features]), axis=0)
        return graph.add("Reshape", flat, tile)


def _gaussian(graph: Graph, output: _Output, part: Any, x: str, mask: str) -> str:
    block, log_var = part.block, _numbers(part.log_var)
    residual = output.residual(block, x)
    half_precision = graph.add("Mul", mask, graph.weight(-0.5 * np.exp(-log_var)))
    squares = graph.add("Mul", residual, residual)
    constant = graph.add("MatMul", mask, graph.weight(-0.5 * (math.log(2.0 * math.pi) + log_var)[:, None]))
    return graph.add("Add", _dot(graph, squares, half_precision), constant)


def _conditional(graph: Graph, output: _Output, part: Any, x: str, mask: str) -> str:
    block, floor = part.block, _numbers(part.floor)
    size = block.num_features
    residual = output.residual(block, x, slice(0, size))
    raw = graph.add("Clip", output.params(block, slice(size, 2 * size)), *_limits(graph, RAW_LIMIT))
    variance = graph.add("Add", graph.add("Exp", raw), graph.weight(floor**2))
    far = graph.add("Div", graph.add("Mul", residual, residual), variance)
    terms = graph.add("Add", graph.add("Log", variance), far)
    minus_half = graph.add("Mul", mask, graph.scalar(-0.5))
    constant = graph.add("MatMul", mask, graph.weight(np.full((size, 1), -0.5 * math.log(2.0 * math.pi))))
    return graph.add("Add", _dot(graph, terms, minus_half), constant)


def _student_t(graph: Graph, output: _Output, part: Any, x: str, mask: str) -> str:
    log_scale, nu = _numbers(part.log_scale), _numbers(part.freedom)
    residual = output.residual(part.block, x)
    shrunk = graph.add("Mul", residual, graph.weight(np.exp(-log_scale) / np.sqrt(nu)))
    far = graph.add("Log", graph.add("Add", graph.add("Mul", shrunk, shrunk), graph.scalar(1.0)))
    weight = graph.add("Mul", mask, graph.weight(-0.5 * (nu + 1.0)))
    constants = StudentTLikelihood(log_scale.tolist(), nu.tolist()).constants
    return graph.add("Add", _dot(graph, far, weight), graph.add("MatMul", mask, graph.weight(constants[:, None])))


def _logistic(graph: Graph, output: _Output, part: Any, x: str, mask: str) -> str:
    log_scale, cell = _numbers(part.log_scale), _numbers(part.cell)
    middle = graph.add("Mul", output.residual(part.block, x), graph.weight(np.exp(-log_scale)))
    half = graph.weight(0.5 * cell * np.exp(-log_scale))
    above = graph.add("Softplus", graph.add("Sub", middle, half))
    below = graph.add("Softplus", graph.add("Sub", graph.add("Mul", middle, graph.scalar(-1.0)), half))
    minus = graph.add("Mul", mask, graph.scalar(-1.0))
    constants = LogisticLikelihood(log_scale.tolist(), cell.tolist()).constants
    constant = graph.add("MatMul", mask, graph.weight(constants[:, None]))
    return graph.add("Add", _dot(graph, graph.add("Add", above, below), minus), constant)


def _bernoulli(graph: Graph, output: _Output, part: Any, x: str, mask: str) -> str:
    logits = graph.add("Clip", output.params(part.block), *_limits(graph, LOGIT_LIMIT))
    linear = _dot(graph, logits, graph.add("Mul", x, mask))
    minus = graph.add("Mul", mask, graph.scalar(-1.0))
    return graph.add("Add", linear, _dot(graph, graph.add("Softplus", logits), minus))


def _count(graph: Graph, output: _Output, part: Any, x: str, mask: str) -> str:
    logits = graph.add("Clip", output.params(part.block), *_limits(graph, LOGIT_LIMIT))
    total = graph.add("Add", x, graph.weight(np.exp(_numbers(part.log_dispersion))))
    linear = _dot(graph, logits, graph.add("Mul", x, mask))
    minus = graph.add("Mul", graph.add("Mul", total, mask), graph.scalar(-1.0))
    return graph.add("Add", linear, _dot(graph, graph.add("Softplus", logits), minus))


def _categorical(graph: Graph, output: _Output, part: Any, x: str, mask: str) -> str:
    block = part.block
    logits = graph.add("Clip", output.params(block), *_limits(graph, LOGIT_LIMIT))
    totals = graph.add("MatMul", graph.add("Exp", logits), graph.weight(part.members))
    first = np.zeros((block.num_features, len(block.sizes)))
    first[block.starts, np.arange(len(block.sizes))] = -1.0
    minus = graph.add("MatMul", mask, graph.weight(first))
    chosen = _dot(graph, logits, graph.add("Mul", x, mask))
    return graph.add("Add", chosen, _dot(graph, graph.add("Log", totals), minus))


_TERMS: dict[str, Callable[[Graph, _Output, Any, str, str], str]] = {
    "gaussian": _gaussian,
    "conditional": _conditional,
    "student_t": _student_t,
    "logistic": _logistic,
    "bernoulli": _bernoulli,
    "count": _count,
    "categorical": _categorical,
}


def _dot(graph: Graph, terms: str, weights: str) -> str:
    """Sums over the last axis, (N, S, G) and (N, G) -> (N, S)."""
    two = graph.integers([2])
    return graph.add("Squeeze", graph.add("MatMul", terms, graph.add("Unsqueeze", weights, two)), two)


def _first_layer(graph: Graph, weight: Tensor, bias: Tensor) -> str:
    """(noise, 1) times (scale W; loc W + b), shape (N, S, H)."""
    matrix, one = graph.weight(weight.T), graph.integers([1])
    scaled = graph.add("Mul", graph.add("Unsqueeze", "scale", graph.integers([2])), matrix)
    shift = graph.add("Unsqueeze", graph.add("Gemm", "loc", matrix, graph.weight(bias)), one)
    zeros = graph.add("Mul", graph.add("ReduceSum", "noise", one, keepdims=1), graph.scalar(0.0))
    ones = graph.add("Add", zeros, graph.scalar(1.0))
    return graph.add("MatMul", graph.add("Concat", "noise", ones, axis=1), graph.add("Concat", scaled, shift, axis=1))


def _log_prior(graph: Graph, latent_dim: int) -> str:
    """log N(loc + scale noise; 0, I) as one product, (loc^2, loc scale, scale^2) times (1, 2 noise, noise^2), (N, S).

    Not with a sum over loc^2: onnxruntime's sums over short rows change their bits with the row's address.
    """
    ones = graph.add("Add", graph.add("Mul", "noise", graph.scalar(0.0)), graph.scalar(1.0))
    powers = graph.add("Concat", ones, graph.add("Add", "noise", "noise"), graph.add("Mul", "noise", "noise"), axis=1)
    squares = [graph.add("Mul", one, other) for one, other in (("loc", "loc"), ("loc", "scale"), ("scale", "scale"))]
    minus_half = graph.add("Mul", graph.add("Concat", *squares, axis=1), graph.scalar(-0.5))
    constant = graph.scalar(-0.5 * latent_dim * math.log(2.0 * math.pi))
    return graph.add("Gemm", minus_half, powers, constant, transB=1)


def _limits(graph: Graph, limit: float) -> tuple[str, str]:
    return graph.scalar(-limit), graph.scalar(limit)


def _numbers(values: Tensor) -> FloatArray:
    return values.detach().double().cpu().numpy()


def _linear(layer: nn.Module) -> nn.Linear:
    if not isinstance(layer, nn.Linear):
        raise TypeError(f"a decoder starts and ends with Linear, got {type(layer).__name__}")
    return layer
