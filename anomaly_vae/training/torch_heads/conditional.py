"""The Gaussian head whose variance depends on z, in torch."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from anomaly_vae.arrays import LOG_2PI
from anomaly_vae.columns.heads import RAW_LIMIT, ConditionalHead, Head
from anomaly_vae.training.decoder_graph import ParamsGraph
from anomaly_vae.training.graph import Graph, to_numpy
from anomaly_vae.training.torch_heads.base import ColumnData, TorchHead
from anomaly_vae.training.torch_heads.derivatives import Derivatives

__all__ = ["Conditional"]


class Conditional(TorchHead):
    """N(loc(z), floor^2 + exp(raw(z)))."""

    @classmethod
    def initial(cls, data: ColumnData) -> Head:
        """See :class:`TorchHead`."""
        return ConditionalHead(floor=data.floor, step=data.column.step)

    def forward(self, x: Tensor, params: Tensor, mask: Tensor) -> Tensor:
        """See :class:`TorchHead`."""
        loc, raw = params.chunk(2, dim=-1)
        variance = self.floor**2 + torch.exp(raw.clamp(-RAW_LIMIT, RAW_LIMIT))
        terms = LOG_2PI + torch.log(variance) + (x - loc) ** 2 / variance
        return -0.5 * (terms * mask).sum(dim=-1)

    def onnx_log_prob(self, graph: Graph, decoder: ParamsGraph, x: str, mask: str) -> str:
        """See :class:`TorchHead`."""
        floor, size = to_numpy(self.floor), self.block.num_features
        residual = decoder.residual(self.block, x, slice(0, size))
        raw = graph.clip(decoder.params(self.block, slice(size, 2 * size)), RAW_LIMIT)
        variance = graph.add("Add", graph.add("Exp", raw), decoder.constant(floor**2))
        square = graph.add("Div", graph.add("Mul", residual, residual), variance)
        terms = graph.add("Add", graph.add("Log", variance), square)
        minus_half = graph.add("Mul", mask, graph.scalar(-0.5))
        constant = graph.add("MatMul", mask, graph.weight(np.full((size, 1), -0.5 * LOG_2PI)))
        return graph.add("Add", decoder.weighted_sum(terms, minus_half, size), constant)

    def onnx_derivatives(self, graph: Graph, params: str, x: str, mask: str) -> Derivatives:
        """See :class:`TorchHead`."""
        size = self.block.num_features
        loc, clipped = graph.split(params, [size, size])
        free = graph.add("Exp", graph.clip(clipped, RAW_LIMIT))
        variance = graph.add("Add", free, graph.weight(to_numpy(self.floor) ** 2))
        share = graph.add("Div", free, variance)
        residual = graph.add("Sub", x, loc)
        precision = graph.add("Div", mask, variance)
        ratio = graph.add("Div", graph.add("Mul", residual, residual), variance)
        half = graph.add("Mul", graph.add("Mul", mask, graph.scalar(0.5)), share)
        excess = graph.add("Sub", ratio, graph.scalar(1.0))
        rest = graph.add("Mul", excess, graph.add("Sub", graph.scalar(1.0), share))
        bend = graph.add("Mul", half, graph.add("Sub", graph.add("Mul", ratio, share), rest))
        return Derivatives(
            graph.add("Concat", graph.add("Mul", residual, precision), graph.add("Mul", half, excess), axis=1),
            graph.add("Concat", precision, bend, axis=1),
            graph.add("Concat", precision, graph.add("Mul", half, share), axis=1),
        )

    def learned(self) -> dict[str, Tensor]:
        """See :class:`TorchHead`."""
        return {"floor": self.floor}
