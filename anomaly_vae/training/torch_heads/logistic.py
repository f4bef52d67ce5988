"""The logistic head in torch."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from anomaly_vae.columns.heads import Head, LogisticHead
from anomaly_vae.columns.heads.logistic import LogisticLikelihood
from anomaly_vae.columns.layout import Block
from anomaly_vae.errors import ConfigError
from anomaly_vae.training.decoder_graph import ParamsGraph
from anomaly_vae.training.graph import Graph, to_numpy
from anomaly_vae.training.torch_heads.base import STD_FLOOR, ColumnData, TorchHead, cell_width
from anomaly_vae.training.torch_heads.derivatives import Derivatives

__all__ = ["Logistic"]

# The scale of a logistic distribution with standard deviation 1.
_SCALE_OF_UNIT_STD = math.sqrt(3.0) / math.pi

# Near the middle, slope / residual is 0 / 0. Squared distances, in scales, are compared with this number, and the
# curvature takes over: there, the two are equal. Chosen, not measured.
_NEAR = 1e-6

# Distances from the middle, in scales, are clipped here: infinity would become NaN. Chosen, not measured.
_FAR = 1e30

# Where training starts, standard deviations of the column: the scale of a standard deviation of 0.9.
_START_SCALE = 0.5


class Logistic(TorchHead):
    """A logistic distribution around loc(z) in cells of the column's grid, scale learned per column."""

    cell: Tensor

    def __init__(self, block: Block, floors: Sequence[float]) -> None:
        super().__init__(block, floors)
        self.raw_log_scale = nn.Parameter(self._field("log_scale"))
        self.register_buffer("cell", self._field("cell"))

    @classmethod
    def initial(cls, data: ColumnData) -> Head:
        """See :class:`TorchHead`."""
        step, cell = data.column.step, cell_width(data.column.step, data.transform)
        if step is None or cell is None:
            raise ConfigError(f"likelihood 'logistic': the values of column {data.column.name!r} are not on a grid")
        return LogisticHead(log_scale=math.log(_START_SCALE), step=step, cell=cell)

    @property
    def log_scale(self) -> Tensor:
        """Log-scales, shape (G,)."""
        return torch.log(STD_FLOOR * _SCALE_OF_UNIT_STD + torch.exp(self.raw_log_scale))

    def forward(self, x: Tensor, params: Tensor, mask: Tensor) -> Tensor:
        """See :class:`TorchHead`."""
        scale = torch.exp(self.log_scale)
        middle, half = (x - params) / scale, 0.5 * self.cell / scale
        constant = torch.log(-torch.expm1(-2.0 * half))
        terms = constant - nn.functional.softplus(-middle - half) - nn.functional.softplus(middle - half)
        return (terms * mask).sum(dim=-1)

    def onnx_log_prob(self, graph: Graph, decoder: ParamsGraph, x: str, mask: str) -> str:
        """See :class:`TorchHead`."""
        log_scale, cell = to_numpy(self.log_scale), to_numpy(self.cell)
        middle = graph.add("Mul", decoder.residual(self.block, x), decoder.constant(np.exp(-log_scale)))
        middle = graph.clip(middle, _FAR)
        half = decoder.constant(0.5 * cell * np.exp(-log_scale))
        above = graph.add("Sub", middle, half)
        below = graph.add("Sub", graph.add("Mul", middle, graph.scalar(-1.0)), half)
        minus = graph.add("Mul", mask, graph.scalar(-1.0))
        constants = LogisticLikelihood(log_scale.tolist(), cell.tolist()).constants
        constant = graph.add("MatMul", mask, graph.weight(constants[:, None]))
        total = decoder.weighted_sum(graph.softplus(above, below), minus, self.block.num_features)
        return graph.add("Add", total, constant)

    def onnx_derivatives(self, graph: Graph, params: str, x: str, mask: str) -> Derivatives:
        """See :class:`TorchHead`."""
        log_scale, cell = to_numpy(self.log_scale), to_numpy(self.cell)
        inverse, half = np.exp(-log_scale), graph.weight(0.5 * cell * np.exp(-log_scale))
        middle = graph.add("Mul", graph.add("Sub", x, params), graph.weight(inverse))
        above = graph.add("Sigmoid", graph.add("Sub", middle, half))
        below = graph.add("Sigmoid", graph.add("Sub", graph.add("Mul", middle, graph.scalar(-1.0)), half))
        difference = graph.add("Sub", above, below)
        bends = [graph.add("Sub", each, graph.add("Mul", each, each)) for each in (above, below)]
        bend = graph.add("Add", *bends)
        square = graph.add("Mul", middle, middle)
        blend = graph.add("Add", graph.add("Mul", difference, middle), graph.add("Mul", bend, graph.scalar(_NEAR)))
        secant = graph.add("Div", blend, graph.add("Add", square, graph.scalar(_NEAR)))
        per_square = graph.add("Mul", mask, graph.weight(inverse**2))
        return Derivatives(
            graph.add("Mul", difference, graph.add("Mul", mask, graph.weight(inverse))),
            graph.add("Mul", bend, per_square),
            graph.add("Mul", secant, per_square),
        )

    def learned(self) -> dict[str, Tensor]:
        """See :class:`TorchHead`."""
        return {"log_scale": self.log_scale}
