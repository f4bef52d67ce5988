"""The derivatives of the head of pixels in the posterior graph.

Each component is log(1 - V) - softplus(-p) - softplus(q), with p and q the ends of the cell in scales from the
location, and V = exp(q - p). The names are those of :mod:`anomaly_vae.columns.heads.pixel`.
"""

from __future__ import annotations

import numpy as np

from anomaly_vae.arrays import FloatArray
from anomaly_vae.columns.heads.pixel import MOST_LOG_SCALE, MOST_WEIGHT_LOGIT
from anomaly_vae.training.graph import Graph
from anomaly_vae.training.torch_heads.derivatives import Derivatives

__all__ = ["at_most", "outer_cells", "pixel_derivatives"]

# Outer cells, and numbers below a limit, are told from others by a line that is this steep; cells are told in units of
# half a cell, which is how far levels are from the line. Chosen, not measured.
_STEEP = 1e3

# Distances in scales are clipped here where they are multiplied with a derivative of the sigmoid, which is rounded.
# Chosen, not measured: 1,600 exp(-40) is 0 in float32.
_FAR = 40.0

# Near the location, (sigmoid(p) - 1/2) / p is 0 / 0; see the logistic head.
_NEAR = 1e-5

# Least number in float32, nearly: no limit.
_LOWEST = -3e38


def at_most(graph: Graph, value: str, limit: float) -> str:
    """Add the smaller of a value and a limit."""
    return graph.add("Clip", value, graph.scalar(_LOWEST), graph.scalar(limit))


def outer_cells(graph: Graph, value: str, half: FloatArray) -> tuple[str, str]:
    """Add whether values are in the highest and in the lowest cell, 1 or 0."""
    add = graph.add
    steep, end = graph.weight(_STEEP / half), graph.weight(1.0 - half)
    minus = add("Mul", value, graph.scalar(-1.0))
    high, low = (_indicator(graph, add("Mul", add("Sub", each, end), steep)) for each in (value, minus))
    return high, low


def pixel_derivatives(graph: Graph, params: str, x: str, mask: str, half: FloatArray, least: FloatArray) -> Derivatives:
    """Add the nodes; see :class:`~anomaly_vae.training.torch_heads.base.TorchHead`.

    Args:
        half: h of each column, model units, shape (G,).
        least: Least scale of each column, model units, shape (G,).
    """
    add, one, size = graph.add, graph.scalar(1.0), len(half)
    loc, raw, raw_logit = graph.split(params, [2 * size, 2 * size, size])
    value = graph.clip(x, 1.0)
    high, low = outer_cells(graph, value, half)
    value, not_high, not_low, mask2 = (
        add("Concat", each, each, axis=1) for each in (value, add("Sub", one, high), add("Sub", one, low), mask)
    )
    high, low = add("Sub", one, not_high), add("Sub", one, not_low)
    h = graph.weight(np.tile(half, 2))
    free = add("Exp", at_most(graph, raw, MOST_LOG_SCALE))
    scale = add("Add", free, graph.weight(np.tile(least, 2)))
    inverse = add("Div", one, scale)
    below_limit = _indicator(graph, add("Mul", add("Sub", graph.scalar(MOST_LOG_SCALE), raw), graph.scalar(_STEEP)))
    share = add("Mul", add("Mul", free, inverse), below_limit)
    residual = add("Sub", value, loc)
    upper = add("Mul", add("Add", residual, h), inverse)
    lower = add("Mul", add("Sub", residual, h), inverse)
    width = add("Mul", graph.weight(np.tile(2.0 * half, 2)), inverse)
    rest = add("Mul", add("Exp", _minus(graph, width)), add("Mul", not_high, not_low))
    gap = add("Sub", one, rest)
    tails = add("Mul", graph.softplus(_minus(graph, upper)), not_high)
    tails = add("Add", tails, add("Mul", graph.softplus(lower), not_low))
    log_prob = add("Sub", add("Log", gap), tails)
    first, second = graph.split(log_prob, [size, size])
    logit = graph.clip(raw_logit, MOST_WEIGHT_LOGIT)
    log_odds = add("Add", logit, add("Sub", first, second))
    chosen = add("Concat", add("Sigmoid", log_odds), add("Sigmoid", _minus(graph, log_odds)), axis=1)
    odds = add("Mul", add("Sigmoid", log_odds), add("Sigmoid", _minus(graph, log_odds)))

    plain = [add("Sigmoid", each) for each in (upper, lower)]
    above, below = add("Add", add("Mul", plain[0], not_high), high), add("Mul", plain[1], not_low)
    bends = [add("Sub", each, add("Mul", each, each)) for each in (above, below)]
    ratio = add("Div", width, gap)
    # By the location, and by the raw log-scale through 1 / scale.
    by_loc = add("Mul", add("Sub", add("Add", above, below), one), inverse)
    inner = add("Mul", ratio, rest)
    by_inverse = add("Add", inner, add("Mul", upper, add("Sub", one, above)))
    by_inverse = add("Sub", by_inverse, add("Mul", lower, below))
    by_raw = _minus(graph, add("Mul", by_inverse, share))
    bend_loc = add("Mul", add("Add", *bends), add("Mul", inverse, inverse))
    bend_inverse = add("Mul", inner, ratio)
    for distance, bend in zip((upper, lower), bends, strict=True):
        near = graph.clip(distance, _FAR)
        bend_inverse = add("Add", bend_inverse, add("Mul", add("Mul", near, near), bend))
    of_raw = add("Mul", add("Mul", share, share), bend_inverse)
    turned = add("Mul", share, add("Sub", add("Add", share, share), one))
    bend_raw = add("Sub", of_raw, add("Mul", by_inverse, turned))
    bounds = [
        add("Mul", _bound(graph, *each), outer)
        for each, outer in zip(zip((upper, lower), plain, strict=True), (not_high, not_low), strict=True)
    ]
    of_loc = add("Mul", add("Add", *bounds), add("Mul", inverse, inverse))

    weight = add("Sigmoid", logit)
    other = add("Sigmoid", _minus(graph, logit))
    inside = add("Sub", graph.scalar(MOST_WEIGHT_LOGIT**2), add("Mul", raw_logit, raw_logit))
    within = add("Mul", _indicator(graph, add("Mul", inside, graph.scalar(_STEEP))), mask)
    by_logit = add("Sub", add("Sigmoid", log_odds), weight)
    bend_logit = add("Sub", add("Mul", weight, other), odds)
    both = add("Concat", odds, odds, axis=1)

    def joined(of_components: tuple[str, str], of_weight: str) -> str:
        parts = [add("Mul", each, mask2) for each in of_components]
        return add("Concat", *parts, add("Mul", of_weight, within), axis=1)

    def curvature(bend: str, slope: str) -> str:
        return add("Sub", add("Mul", chosen, bend), add("Mul", both, add("Mul", slope, slope)))

    return Derivatives(
        joined((add("Mul", chosen, by_loc), add("Mul", chosen, by_raw)), by_logit),
        joined((curvature(bend_loc, by_loc), curvature(bend_raw, by_raw)), bend_logit),
        joined((add("Mul", chosen, of_loc), add("Mul", chosen, of_raw)), add("Clip", bend_logit, graph.scalar(0.0))),
    )


def _minus(graph: Graph, value: str) -> str:
    return graph.add("Mul", value, graph.scalar(-1.0))


def _indicator(graph: Graph, value: str) -> str:
    """Add 1 for large values and 0 for negative ones."""
    return graph.add("Clip", value, graph.scalar(0.0), graph.scalar(1.0))


def _bound(graph: Graph, distance: str, sigmoid: str) -> str:
    """Add (sigmoid - 1/2) / distance, at most 1/4."""
    add = graph.add
    near = graph.clip(distance, 1e15)
    product = add("Mul", add("Sub", sigmoid, graph.scalar(0.5)), near)
    above = add("Add", product, graph.scalar(0.25 * _NEAR))
    return add("Div", above, add("Add", add("Mul", near, near), graph.scalar(_NEAR)))
