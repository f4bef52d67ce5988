"""The von Mises head in torch."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from anomaly_vae.arrays import LOG_2PI, FloatArray
from anomaly_vae.columns.angles import to_angle
from anomaly_vae.columns.bessel import BEND, OFFSET, RATIO, P
from anomaly_vae.columns.heads import Head, VonMisesHead
from anomaly_vae.columns.heads.von_mises import PARAM_LIMIT
from anomaly_vae.columns.layout import Block
from anomaly_vae.errors import ConfigError
from anomaly_vae.training.decoder_graph import ParamsGraph
from anomaly_vae.training.graph import Graph, to_numpy
from anomaly_vae.training.torch_heads.base import STD_FLOOR, ColumnData, TorchHead
from anomaly_vae.training.torch_heads.derivatives import Derivatives

__all__ = ["VonMises"]

# The largest concentration: a standard deviation of 0.03 radians, 7 minutes of a day. Measured on times within 5
# minutes: log p(x) of ONNX and of torch in float64 differ by 2e-5, a fifth of what is allowed. On two tables of
# concentrated times, the area under the ROC curve of times that are off by an hour rose from 0.96 to 1.00 and from 0.89
# to 0.94, over a largest concentration of 100 for all columns.
_MOST_CONCENTRATION = 1000.0

# Training starts at concentrations below this share of the limit, where the shrinking still has a gradient, and with
# mean directions of at most this length. Chosen, not measured.
_MOST_OF_LIMIT, _MOST_RESULTANT = 0.9, 0.999


class VonMises(TorchHead):
    """Von Mises distributions: mean direction and concentration of each column depend on z."""

    limit: Tensor

    def __init__(self, block: Block, floors: Sequence[float]) -> None:
        super().__init__(block, floors)
        self.register_buffer("limit", self._field("limit"))

    @classmethod
    def initial(cls, data: ColumnData) -> Head:
        """See :class:`TorchHead`; the limit of the concentration is the floor of the standard deviation."""
        period, step = data.column.period, data.column.step
        if period is None:
            raise ConfigError(f"likelihood 'von_mises': column {data.column.name!r} has no period")
        half_step = 0.0 if step is None else math.pi * step / period
        floor = max(STD_FLOOR * _circular_std(to_angle(data.values, period)), half_step)
        return VonMisesHead(period=period, limit=max(floor, _MOST_CONCENTRATION**-0.5) ** -2, step=step)

    def forward(self, x: Tensor, params: Tensor, mask: Tensor) -> Tensor:
        """See :class:`TorchHead`."""
        limit = self.limit[:, None]
        given = _pairs(params.clamp(-PARAM_LIMIT, PARAM_LIMIT)) / limit
        natural = limit * given * torch.rsqrt(1.0 + (given**2).sum(dim=-1, keepdim=True))
        w = torch.sqrt((natural**2).sum(dim=-1) + OFFSET**2)
        log_i0 = w - 0.5 * torch.log(w) + _polynomial(OFFSET / w)
        chosen = (x * natural.flatten(-2) * mask).sum(dim=-1)
        return chosen - ((LOG_2PI + log_i0) * mask[..., ::2]).sum(dim=-1)

    def onnx_log_prob(self, graph: Graph, decoder: ParamsGraph, x: str, mask: str) -> str:
        """See :class:`TorchHead`."""
        block, limit, members = self.block, to_numpy(self.limit), self._members()
        given = graph.clip(decoder.params(block), PARAM_LIMIT)
        given = graph.add("Mul", given, decoder.constant(np.repeat(1.0 / limit, 2)))
        norm = decoder.combined(graph.add("Mul", given, given), members)
        shrink = _inverse_root(graph, norm, 1.0)
        scale = graph.add("Mul", shrink, decoder.constant(limit))
        natural = graph.add("Mul", given, decoder.combined(scale, members.T))
        square = graph.add("Mul", norm, graph.add("Mul", scale, scale))
        chosen = decoder.weighted_sum(natural, graph.add("Mul", x, mask), block.num_features)
        first = np.zeros((block.num_features, len(block.heads)))
        first[::2] = -np.eye(len(block.heads))
        minus = graph.add("MatMul", mask, graph.weight(first))
        total = decoder.weighted_sum(_log_i0(graph, square), minus, len(block.heads))
        constant = graph.add("MatMul", mask, graph.weight(LOG_2PI * first.sum(axis=1, keepdims=True)))
        return graph.add("Add", graph.add("Add", chosen, total), constant)

    def onnx_derivatives(self, graph: Graph, params: str, x: str, mask: str) -> Derivatives:
        """See :class:`TorchHead`, and :class:`~anomaly_vae.columns.heads.von_mises.VonMisesLikelihood`."""
        add, one = graph.add, graph.scalar(1.0)
        limit = np.repeat(to_numpy(self.limit), 2)
        pairs = graph.weight(self._members() @ self._members().T)  # sums over the two features of a column, at both
        given = add("Mul", graph.clip(params, PARAM_LIMIT), graph.weight(1.0 / limit))
        g2 = add("Mul", given, given)
        norm = add("MatMul", g2, pairs)
        s = _inverse_root(graph, norm, 1.0)
        s2 = add("Mul", s, s)
        scale = add("Mul", s, graph.weight(limit))
        square = add("Mul", norm, add("Mul", scale, scale))
        v = add("Mul", _inverse_root(graph, square, OFFSET**2), graph.scalar(OFFSET))
        ratio, bend = _horner(graph, RATIO, v), _horner(graph, BEND, v)
        mean = add("Mul", ratio, add("Mul", given, scale))
        residual = add("Mul", add("Sub", x, mean), mask)
        along = add("MatMul", add("Mul", given, residual), pairs)
        s3 = add("Mul", s2, s)
        slope = add("Sub", add("Mul", s, residual), add("Mul", s3, add("Mul", given, along)))
        s2g2 = add("Mul", s2, g2)
        across = add("Mul", add("Mul", ratio, s2), add("Sub", one, add("Mul", s2g2, add("Add", s2, one))))
        radial = add("Mul", add("Mul", bend, s2g2), add("Mul", add("Mul", s3, s3), graph.weight(limit**2)))
        information = add("Mul", add("Clip", add("Add", across, radial), graph.scalar(0.0)), mask)
        # The derivative of (A, B) by (a, b) bends as well.
        twice = add("Mul", add("Mul", residual, given), graph.scalar(2.0))
        rest = add("Mul", along, add("Sub", one, add("Mul", s2g2, graph.scalar(3.0))))
        bent = add("Mul", add("Add", twice, rest), add("Mul", s3, graph.weight(1.0 / limit)))
        return Derivatives(slope, add("Add", information, bent), information)

    def start(self, mean: Tensor) -> Tensor:
        """See :class:`TorchHead`; the concentration is that of Banerjee et al. (2005), equation 4.4."""
        vector = _pairs(mean)
        length = vector.norm(dim=-1, keepdim=True)
        resultant = length.clamp(max=_MOST_RESULTANT)
        concentration = resultant * (2.0 - resultant**2) / (1.0 - resultant**2)
        share = (concentration / self.limit[:, None]).clamp(max=_MOST_OF_LIMIT)
        given = self.limit[:, None] * share / torch.sqrt(1.0 - share**2)
        params: Tensor = given * vector / length.clamp(min=1e-6)
        return params.flatten(-2)

    def _members(self) -> FloatArray:
        """Return which features belong to which column, (2 G, G)."""
        return np.repeat(np.eye(len(self.block.heads)), 2, axis=0)


def _circular_std(angles: FloatArray) -> float:
    """Return the standard deviation of angles, sqrt(-2 log R) with their mean resultant length R; at most 1 radian."""
    resultant = math.hypot(float(np.cos(angles).mean()), float(np.sin(angles).mean()))
    return min(math.sqrt(-2.0 * math.log(min(max(resultant, 1e-6), 1.0))), 1.0)


def _pairs(values: Tensor) -> Tensor:
    """Return (..., 2 G) as (..., G, 2)."""
    return values.reshape(*values.shape[:-1], -1, 2)


def _polynomial(v: Tensor) -> Tensor:
    """Return P(v) of :mod:`anomaly_vae.columns.bessel`."""
    total = torch.full_like(v, P[-1])
    for coefficient in P[-2::-1]:
        total = total * v + coefficient
    return total


def _log_i0(graph: Graph, square: str) -> str:
    """Add log I_0(kappa) from kappa^2."""
    shifted = graph.add("Add", square, graph.scalar(OFFSET**2))
    log = graph.add("Log", shifted)
    rough = graph.add("Exp", graph.add("Mul", log, graph.scalar(0.5)))
    # One step of Newton's method: the exponential function has multiplied the rounding of the logarithm.
    twice = graph.add("Add", rough, graph.add("Div", shifted, rough))
    w = graph.add("Mul", twice, graph.scalar(0.5))
    series = _horner(graph, P, graph.add("Div", graph.scalar(OFFSET), w))
    return graph.add("Add", graph.add("Sub", w, graph.add("Mul", log, graph.scalar(0.25))), series)


def _inverse_root(graph: Graph, value: str, offset: float) -> str:
    """Add 1 / sqrt(value + offset): no graph has the operator Sqrt."""
    log = graph.add("Log", graph.add("Add", value, graph.scalar(offset)))
    return graph.add("Exp", graph.add("Mul", log, graph.scalar(-0.5)))


def _horner(graph: Graph, coefficients: Sequence[float], v: str) -> str:
    """Add the polynomial with these coefficients, lowest power first, at v."""
    total = graph.scalar(coefficients[-1])
    for coefficient in coefficients[-2::-1]:
        product = graph.add("Mul", v, total)
        total = graph.add("Add", product, graph.scalar(coefficient)) if coefficient else product
    return total
