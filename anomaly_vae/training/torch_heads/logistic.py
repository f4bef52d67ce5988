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
from anomaly_vae.training.decoder_graph import DecoderGraph, weighted_sum
from anomaly_vae.training.graph import Graph, to_numpy
from anomaly_vae.training.torch_heads.base import STD_FLOOR, ColumnData, TorchHead, cell_width

__all__ = ["Logistic"]

# The scale of a logistic distribution with standard deviation 1.
_SCALE_OF_UNIT_STD = math.sqrt(3.0) / math.pi

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

    def onnx_log_prob(self, graph: Graph, decoder: DecoderGraph, x: str, mask: str) -> str:
        """See :class:`TorchHead`."""
        log_scale, cell = to_numpy(self.log_scale), to_numpy(self.cell)
        middle = graph.add("Mul", decoder.residual(self.block, x), graph.weight(np.exp(-log_scale)))
        half = graph.weight(0.5 * cell * np.exp(-log_scale))
        above = graph.add("Softplus", graph.add("Sub", middle, half))
        below = graph.add("Softplus", graph.add("Sub", graph.add("Mul", middle, graph.scalar(-1.0)), half))
        minus = graph.add("Mul", mask, graph.scalar(-1.0))
        constants = LogisticLikelihood(log_scale.tolist(), cell.tolist()).constants
        constant = graph.add("MatMul", mask, graph.weight(constants[:, None]))
        return graph.add("Add", weighted_sum(graph, graph.add("Add", above, below), minus), constant)

    def learned(self) -> dict[str, Tensor]:
        """See :class:`TorchHead`."""
        return {"log_scale": self.log_scale}
