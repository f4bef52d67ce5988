"""The Gaussian head in torch."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from anomaly_vae.arrays import LOG_2PI
from anomaly_vae.columns.heads import GaussianHead, Head
from anomaly_vae.columns.layout import Block
from anomaly_vae.training.decoder_graph import ParamsGraph
from anomaly_vae.training.graph import Graph, to_numpy
from anomaly_vae.training.torch_heads.base import ColumnData, TorchHead
from anomaly_vae.training.torch_heads.derivatives import Derivatives

__all__ = ["Gaussian"]


class Gaussian(TorchHead):
    """N(loc(z), exp(log_var)), one variance per column: learned, or fixed."""

    free: Tensor  # whether the variance is learned, shape (G,)

    def __init__(self, block: Block, floors: Sequence[float]) -> None:
        super().__init__(block, floors)
        learned = [isinstance(head, GaussianHead) and head.variance == "learned" for head in block.heads]
        self.register_buffer("free", torch.tensor(learned))
        self.raw_log_var = nn.Parameter(self._field("log_var"))

    @classmethod
    def initial(cls, data: ColumnData) -> Head:
        """See :class:`TorchHead`."""
        step = data.column.step
        if data.decoder_variance == "fixed":
            return GaussianHead(variance="fixed", log_var=2.0 * math.log(max(1.0, data.floor)), step=step)
        return GaussianHead(variance="learned", log_var=0.0, step=step)

    @property
    def log_var(self) -> Tensor:
        """Log-variances, shape (G,)."""
        learned = torch.log(self.floor**2 + torch.exp(self.raw_log_var))
        return torch.where(self.free, learned, self.raw_log_var.detach())

    def forward(self, x: Tensor, params: Tensor, mask: Tensor) -> Tensor:
        """See :class:`TorchHead`."""
        log_var = self.log_var
        terms = LOG_2PI + log_var + (x - params) ** 2 * torch.exp(-log_var)
        return -0.5 * (terms * mask).sum(dim=-1)

    def onnx_log_prob(self, graph: Graph, decoder: ParamsGraph, x: str, mask: str) -> str:
        """See :class:`TorchHead`."""
        log_var = to_numpy(self.log_var)
        residual = decoder.residual(self.block, x)
        half_precision = graph.add("Mul", mask, graph.weight(-0.5 * np.exp(-log_var)))
        squares = graph.add("Mul", residual, residual)
        constant = graph.add("MatMul", mask, graph.weight(-0.5 * (LOG_2PI + log_var)[:, None]))
        total = decoder.weighted_sum(squares, half_precision, self.block.num_features)
        return graph.add("Add", total, constant)

    def onnx_derivatives(self, graph: Graph, params: str, x: str, mask: str) -> Derivatives:
        """See :class:`TorchHead`."""
        precision = graph.add("Mul", mask, graph.weight(np.exp(-to_numpy(self.log_var))))
        slope = graph.add("Mul", graph.add("Sub", x, params), precision)
        return Derivatives(slope, precision, precision)

    def learned(self) -> dict[str, Tensor]:
        """See :class:`TorchHead`."""
        return {"log_var": self.log_var}
