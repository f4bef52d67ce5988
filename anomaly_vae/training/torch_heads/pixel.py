"""The head of pixels in torch: two logistic distributions in cells, see :mod:`anomaly_vae.columns.heads.pixel`."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from anomaly_vae.arrays import FloatArray
from anomaly_vae.columns.heads import Head, PixelHead
from anomaly_vae.columns.heads.pixel import MOST_LOG_SCALE, MOST_WEIGHT_LOGIT, half_cell, least_scale
from anomaly_vae.columns.layout import Block
from anomaly_vae.columns.transforms import Standardise
from anomaly_vae.errors import ConfigError
from anomaly_vae.training.decoder_graph import ParamsGraph
from anomaly_vae.training.graph import Graph, to_numpy
from anomaly_vae.training.torch_heads.base import ColumnData, TorchHead
from anomaly_vae.training.torch_heads.derivatives import Derivatives
from anomaly_vae.training.torch_heads.pixel_derivatives import at_most, outer_cells, pixel_derivatives

__all__ = ["Pixel"]

# Where training starts, model units: the first location is one below the mean of the pixel, the second is in the upper
# half, and both scales are exp(-2). Measured on MNIST against scales and locations from the marginals of all pixels:
# after 300 steps the ELBO is 27 nats higher.
_START_BELOW, _START_SECOND, _START_LOG_SCALE = 1.0, 0.5, -2.0

# Stand for infinite distances, model units: how far a location is inside the cell of a missing value, and the width of
# outer and missing cells, which is larger than all distances. Chosen, not measured: exp of minus as many scales is 0.
_INSIDE, _WIDE = 1e20, 1e30

# Cells whose probabilities are multiplied before their logarithm: it takes ten times as long as a product. A factor is
# at least 4e-8, with the least weight and the largest scale of 256 levels, and their product is above 1e-38, the least
# number in float32.
_CELLS_A_LOG = 4


class _Ends(NamedTuple):
    """What the cell of x does to both components, in the shape of values of columns.

    The distance of a location from the nearer end of the cell, positive inside, is ``fold * min(r + h, 0) - sign * r``
    with ``r = x - loc``: h - abs(x - loc) in an inner cell, as x is h below its value, h - x + loc in the highest cell
    and h + x - loc in the lowest one. It is infinite if x is missing.

    Attributes:
        x: (N, 2 G), as rows of a table.
        fold, sign: See above.
        width: Minus the width of the cell.
    """

    x: str
    fold: str
    sign: str
    width: str


class Pixel(TorchHead):
    """Two logistic distributions in cells; locations, scales and weights depend on z."""

    half_cell: Tensor
    least: Tensor

    def __init__(self, block: Block, floors: Sequence[float]) -> None:
        super().__init__(block, floors)
        levels = [head.levels for head in block.heads if isinstance(head, PixelHead)]
        self.register_buffer("half_cell", torch.tensor([half_cell(each) for each in levels]))
        self.register_buffer("least", torch.tensor([least_scale(each) for each in levels]))

    @classmethod
    def initial(cls, data: ColumnData) -> Head:
        """See :class:`TorchHead`; the transform maps the range of the levels to -1 to 1."""
        step, transform = data.column.step, data.transform
        if step is None or not isinstance(transform, Standardise):
            raise ConfigError(f"likelihood 'pixel': the values of column {data.column.name!r} are not on a grid")
        levels = round(2.0 * transform.scale / step) + 1
        return PixelHead(low=transform.center - transform.scale, step=step, levels=levels)

    def forward(self, x: Tensor, params: Tensor, mask: Tensor) -> Tensor:
        """See :class:`TorchHead`."""
        value, half = x.clamp(-1.0, 1.0), self.half_cell
        not_high, not_low = (value <= 1.0 - half).to(x.dtype), (value >= half - 1.0).to(x.dtype)
        by_kind = params.reshape(*params.shape[:-1], 5, len(half))
        scale = self.least + torch.exp(by_kind[..., 2:4, :].clamp(max=MOST_LOG_SCALE))
        logit = by_kind[..., 4, :].clamp(-MOST_WEIGHT_LOGIT, MOST_WEIGHT_LOGIT)
        residual = value.unsqueeze(-2) - by_kind[..., :2, :]
        softplus = nn.functional.softplus
        log_probs = (
            torch.log(-torch.expm1(-2.0 * half / scale)) * (not_high * not_low).unsqueeze(-2)
            - softplus(-(residual + half) / scale) * not_high.unsqueeze(-2)
            - softplus((residual - half) / scale) * not_low.unsqueeze(-2)
        )
        log_prob = torch.logaddexp(log_probs[..., 0, :] + logit, log_probs[..., 1, :]) - softplus(logit)
        return (log_prob * mask).sum(dim=-1)

    def onnx_log_prob(self, graph: Graph, decoder: ParamsGraph, x: str, mask: str) -> str:
        """See :class:`TorchHead`.

        Much of the time of scoring images is spent here: the arrays have one entry for each pair of a row and a
        sample, and each cell. Measured with onnxruntime 1.32: a logarithm takes 1.3 ns an entry, and each other node
        0.1 to 0.2 ns. So cells share a logarithm, and both components are one array.

        With a the distance of a location from the nearer end of the cell, in scales, and b < a that from the other
        end, a component has the probability (1 - exp(b - a)) / ((1 + exp(-a)) (1 + exp(b))). If a is negative for both
        components, exp of the larger one is taken out.
        """
        add, size = graph.add, self.block.num_features
        decoder.cut(self.block, [2 * size, 2 * size, size])
        inside, width = self._distances(graph, decoder, x, mask)
        one = graph.scalar(1.0)
        other = add("Add", add("Exp", add("Add", inside, width)), one)
        stacked = decoder.shaped(inside, 2, size)
        shift = at_most(graph, add("ReduceMax", stacked, graph.integers([1]), keepdims=1), 0.0)
        nearer = add("Add", add("Exp", add("Sub", shift, stacked)), add("Exp", shift))
        product = add("Mul", decoder.shaped(nearer, 2 * size), other)
        probs = add("Div", add("Sub", one, add("Exp", width)), product)
        first, second = graph.split(probs, [size, size], axis=1)
        odds = add("Exp", graph.clip(decoder.params(self.block, slice(4 * size, 5 * size)), MOST_WEIGHT_LOGIT))
        mixed = add("Div", add("Add", add("Mul", first, odds), second), add("Add", odds, one))
        total = decoder.weighted_sum(decoder.shaped(shift, size), mask, size)
        return self._plus_logs(graph, decoder, total, mixed)

    def onnx_derivatives(self, graph: Graph, params: str, x: str, mask: str) -> Derivatives:
        """See :class:`TorchHead`."""
        return pixel_derivatives(graph, params, x, mask, to_numpy(self.half_cell), to_numpy(self.least))

    def start(self, mean: Tensor) -> Tensor:
        """See :class:`TorchHead`."""
        second, log_scale = torch.full_like(mean, _START_SECOND), torch.full_like(mean, _START_LOG_SCALE)
        return torch.cat([mean - _START_BELOW, second, log_scale, log_scale, torch.zeros_like(mean)])

    def _distances(self, graph: Graph, decoder: ParamsGraph, x: str, mask: str) -> tuple[str, str]:
        """Add the distances from the nearer ends of the cells, and minus the widths of the cells, in scales."""
        add, size = graph.add, self.block.num_features
        raw = at_most(graph, decoder.params(self.block, slice(2 * size, 4 * size)), MOST_LOG_SCALE)
        scale = add("Add", add("Exp", raw), _constant(graph, decoder, to_numpy(self.least)))
        ends = self._ends(graph, decoder, x, mask)
        residual = decoder.residual(self.block, ends.x, slice(0, 2 * size))
        above = at_most(graph, add("Add", residual, _constant(graph, decoder, to_numpy(self.half_cell))), 0.0)
        inside = add("Sub", add("Mul", above, ends.fold), add("Mul", residual, ends.sign))
        return add("Div", inside, scale), add("Div", ends.width, scale)

    def _ends(self, graph: Graph, decoder: ParamsGraph, x: str, mask: str) -> _Ends:
        add, one, two, half = graph.add, graph.scalar(1.0), graph.scalar(2.0), to_numpy(self.half_cell)
        value = graph.clip(x, 1.0)
        high, low = outer_cells(graph, value, half)
        outer, absent = add("Add", high, low), add("Sub", one, mask)
        to_end = add("Mul", add("Sub", add("Mul", low, two), one), graph.weight(half))
        end = add("Add", add("Add", value, to_end), add("Mul", absent, graph.scalar(_INSIDE)))
        fold = add("Mul", add("Mul", add("Sub", one, outer), mask), two)
        sign = add("Sub", add("Mul", add("Mul", add("Sub", one, low), two), mask), one)
        infinite = add("Mul", add("Add", outer, absent), graph.scalar(-_WIDE))
        width = add("Sub", infinite, graph.weight(2.0 * half))
        both = [add("Concat", each, each, axis=1) for each in (end, fold, sign, width)]
        return _Ends(both[0], *(decoder.rows(each) for each in both[1:]))

    def _plus_logs(self, graph: Graph, decoder: ParamsGraph, total: str, probs: str) -> str:
        """Add the sum of the logarithms over columns to a total; several columns share a logarithm."""
        size = self.block.num_features
        each, rest = divmod(size, _CELLS_A_LOG)
        factors = graph.split(probs, [width for width in (*[each] * _CELLS_A_LOG, rest) if width], axis=1)
        terms = [(factors.pop(), rest)] if rest else []
        if factors:
            terms.append((functools.reduce(functools.partial(graph.add, "Mul"), factors), each))
        for term, width in terms:
            ones = graph.weight(np.ones((1, width)))
            total = graph.add("Add", total, decoder.weighted_sum(graph.add("Log", term), ones, width))
        return total


def _constant(graph: Graph, decoder: ParamsGraph, values: FloatArray) -> str:
    """Add a number for each column of both components; a single one, which is faster, if all are the same."""
    return graph.scalar(values[0]) if np.ptp(values) == 0.0 else decoder.constant(np.tile(values, 2))
