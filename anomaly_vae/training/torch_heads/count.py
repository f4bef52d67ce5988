"""The negative binomial head in torch."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from anomaly_vae.columns.heads import LOGIT_LIMIT, CountHead, Head
from anomaly_vae.columns.layout import Block
from anomaly_vae.errors import ConfigError
from anomaly_vae.training.decoder_graph import ParamsGraph
from anomaly_vae.training.graph import Graph, to_numpy
from anomaly_vae.training.torch_heads.base import ColumnData, TorchHead
from anomaly_vae.training.torch_heads.derivatives import Derivatives

__all__ = ["Count"]

# log r is clipped here during training. Chosen, not measured: at exp(-5) nearly all the mass is at 0, at exp(10) the
# distribution is a Poisson one to float32 precision for usual means.
_LOG_DISPERSION_LIMITS = (-5.0, 10.0)

# Limits of log r where training starts, inside the limits above, so that it has a gradient. The dispersion of the
# moments is 100 where the variance is not above the mean.
_START_LIMITS, _START_POISSON = (-4.0, 5.0), 100.0

# Means from which training starts are at least 0.001: their logarithm is finite. Chosen, not measured.
_LEAST_MEAN = 1e-3


class Count(TorchHead):
    """Negative binomial, dispersion learned per column."""

    def __init__(self, block: Block, floors: Sequence[float]) -> None:
        super().__init__(block, floors)
        self.raw_log_dispersion = nn.Parameter(self._field("log_dispersion"))

    @classmethod
    def initial(cls, data: ColumnData) -> Head:
        """See :class:`TorchHead`."""
        values = data.values
        if not (bool((values == np.floor(values)).all()) and values.min() >= 0.0):
            raise ConfigError(
                f"likelihood 'count': column {data.column.name!r} holds {values.min():g}, not whole numbers"
            )
        mean, variance = float(values.mean()), float(values.var())
        log_dispersion = _log_dispersion(mean, variance)
        return CountHead(log_dispersion=log_dispersion, center=mean, scale=max(math.sqrt(variance), 1e-6))

    @property
    def log_dispersion(self) -> Tensor:
        """log r, shape (G,)."""
        return self.raw_log_dispersion.clamp(*_LOG_DISPERSION_LIMITS)

    def forward(self, x: Tensor, params: Tensor, mask: Tensor) -> Tensor:
        """See :class:`TorchHead`."""
        logits, r = params.clamp(-LOGIT_LIMIT, LOGIT_LIMIT), torch.exp(self.log_dispersion)
        terms = self.base(x) + x * logits - (x + r) * nn.functional.softplus(logits)
        return (terms * mask).sum(dim=-1)

    def onnx_log_prob(self, graph: Graph, decoder: ParamsGraph, x: str, mask: str) -> str:
        """See :class:`TorchHead`."""
        logits = graph.clip(decoder.params(self.block), LOGIT_LIMIT)
        total = graph.add("Add", x, graph.weight(np.exp(to_numpy(self.log_dispersion))))
        linear = decoder.weighted_sum(logits, graph.add("Mul", x, mask), self.block.num_features)
        minus = graph.add("Mul", graph.add("Mul", total, mask), graph.scalar(-1.0))
        return graph.add("Add", linear, decoder.weighted_sum(graph.softplus(logits), minus, self.block.num_features))

    def onnx_derivatives(self, graph: Graph, params: str, x: str, mask: str) -> Derivatives:
        """See :class:`TorchHead`."""
        dispersion = np.exp(to_numpy(self.log_dispersion))
        share = graph.add("Sigmoid", graph.clip(params, LOGIT_LIMIT))
        mean = graph.add("Mul", graph.add("Add", x, graph.weight(dispersion)), share)
        bend = graph.add("Mul", mean, graph.add("Sub", graph.scalar(1.0), share))
        return Derivatives(
            graph.add("Mul", graph.add("Sub", x, mean), mask),
            graph.add("Mul", bend, mask),
            graph.add("Mul", graph.add("Mul", share, graph.weight(dispersion)), mask),
        )

    def learned(self) -> dict[str, Tensor]:
        """See :class:`TorchHead`."""
        return {"log_dispersion": self.log_dispersion}

    def base(self, x: Tensor) -> Tensor:
        """See :class:`TorchHead`; it depends on the dispersion."""
        r = torch.exp(self.log_dispersion)
        return torch.lgamma(x + r) - torch.lgamma(r) - torch.lgamma(x + 1.0)

    def start(self, mean: Tensor) -> Tensor:
        """See :class:`TorchHead`."""
        return torch.log(mean.clamp(min=_LEAST_MEAN)) - self.log_dispersion.detach()


def _log_dispersion(mean: float, variance: float) -> float:
    """Return log r of the method of moments: variance = mean + mean^2 / r."""
    low, high = _START_LIMITS
    dispersion = mean**2 / (variance - mean) if variance > mean else _START_POISSON
    return min(max(math.log(max(dispersion, 1e-2)), low), high)
