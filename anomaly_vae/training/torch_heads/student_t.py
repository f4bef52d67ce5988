"""The Student's t head in torch."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from anomaly_vae.columns.heads import Head, StudentTHead
from anomaly_vae.columns.heads.student_t import StudentTLikelihood
from anomaly_vae.columns.layout import Block
from anomaly_vae.training.decoder_graph import ParamsGraph
from anomaly_vae.training.graph import Graph, to_numpy
from anomaly_vae.training.torch_heads.base import ColumnData, TorchHead
from anomaly_vae.training.torch_heads.derivatives import Derivatives

__all__ = ["StudentT"]

# Where training starts: the scale in standard deviations of the column, and the degrees of freedom.
# Chosen, not measured: near a Gaussian, with tails heavy enough for gradients to reach the degrees of freedom.
_START_SCALE, _START_FREEDOM = 0.7, 6.0

# log(degrees of freedom - 2) is clipped here: from 2.02, where the variance is barely finite, to 101, where the
# distribution is close to Gaussian. Chosen, not measured.
_FREEDOM_LIMITS = (-4.0, 4.6)


class StudentT(TorchHead):
    """Student's t around loc(z), scale and degrees of freedom learned per column."""

    def __init__(self, block: Block, floors: Sequence[float]) -> None:
        super().__init__(block, floors)
        self.raw_log_scale = nn.Parameter(self._field("log_scale"))
        self.raw_freedom = nn.Parameter(torch.log(self._field("freedom") - 2.0))

    @classmethod
    def initial(cls, data: ColumnData) -> Head:
        """See :class:`TorchHead`."""
        return StudentTHead(log_scale=math.log(_START_SCALE), freedom=_START_FREEDOM, step=data.column.step)

    @property
    def log_scale(self) -> Tensor:
        """Log-scales, shape (G,)."""
        return 0.5 * torch.log(self.floor**2 + torch.exp(2.0 * self.raw_log_scale))

    @property
    def freedom(self) -> Tensor:
        """Degrees of freedom, shape (G,)."""
        return 2.0 + torch.exp(self.raw_freedom.clamp(*_FREEDOM_LIMITS))

    def forward(self, x: Tensor, params: Tensor, mask: Tensor) -> Tensor:
        """See :class:`TorchHead`."""
        log_scale, nu = self.log_scale, self.freedom
        constant = torch.lgamma(0.5 * (nu + 1.0)) - torch.lgamma(0.5 * nu) - 0.5 * torch.log(nu * math.pi) - log_scale
        growth = torch.log1p((x - params) ** 2 * torch.exp(-2.0 * log_scale) / nu)
        return ((constant - 0.5 * (nu + 1.0) * growth) * mask).sum(dim=-1)

    def onnx_log_prob(self, graph: Graph, decoder: ParamsGraph, x: str, mask: str) -> str:
        """See :class:`TorchHead`."""
        log_scale, nu = to_numpy(self.log_scale), to_numpy(self.freedom)
        residual = decoder.residual(self.block, x)
        scaled = graph.add("Mul", residual, decoder.constant(np.exp(-log_scale) / np.sqrt(nu)))
        growth = graph.add("Log", graph.add("Add", graph.add("Mul", scaled, scaled), graph.scalar(1.0)))
        weights = graph.add("Mul", mask, graph.weight(-0.5 * (nu + 1.0)))
        constants = StudentTLikelihood(log_scale.tolist(), nu.tolist()).constants
        total = decoder.weighted_sum(growth, weights, self.block.num_features)
        return graph.add("Add", total, graph.add("MatMul", mask, graph.weight(constants[:, None])))

    def onnx_derivatives(self, graph: Graph, params: str, x: str, mask: str) -> Derivatives:
        """See :class:`TorchHead`."""
        nu, scale = to_numpy(self.freedom), np.exp(to_numpy(self.log_scale))
        spread = graph.weight(nu * scale**2)
        residual = graph.add("Sub", x, params)
        total = graph.add("Add", graph.add("Mul", residual, residual), spread)
        information = graph.add("Div", graph.add("Mul", mask, graph.weight(nu + 1.0)), total)
        # (spread - residual^2) / total, which would be inf / inf for a residual that float32 cannot square.
        share = graph.add("Div", spread, total)
        sign = graph.add("Sub", graph.add("Add", share, share), graph.scalar(1.0))
        slope = graph.add("Mul", information, residual)
        return Derivatives(slope, graph.add("Mul", information, sign), information)

    def learned(self) -> dict[str, Tensor]:
        """See :class:`TorchHead`."""
        return {"log_scale": self.log_scale, "freedom": self.freedom}
