"""The Bernoulli head in torch."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from anomaly_vae.columns.heads import LOGIT_LIMIT, BernoulliHead, Head
from anomaly_vae.errors import ConfigError
from anomaly_vae.training.decoder_graph import ParamsGraph
from anomaly_vae.training.graph import Graph
from anomaly_vae.training.torch_heads.base import ColumnData, TorchHead
from anomaly_vae.training.torch_heads.derivatives import Derivatives

__all__ = ["Bernoulli"]

# Shares of 0 and 1 from which training starts are at least 0.001: their logit is finite. Chosen, not measured.
_LEAST_SHARE = 1e-3


class Bernoulli(TorchHead):
    """P(x = 1) = sigmoid(logit(z))."""

    @classmethod
    def initial(cls, data: ColumnData) -> Head:
        """See :class:`TorchHead`."""
        if data.column.kind != "binary":
            raise ConfigError(
                f"likelihood 'bernoulli': column {data.column.name!r} holds values such as {data.values.max():g}, "
                "not just 0 and 1"
            )
        return BernoulliHead()

    def forward(self, x: Tensor, params: Tensor, mask: Tensor) -> Tensor:
        """See :class:`TorchHead`."""
        logits = params.clamp(-LOGIT_LIMIT, LOGIT_LIMIT)
        return ((x * logits - nn.functional.softplus(logits)) * mask).sum(dim=-1)

    def onnx_log_prob(self, graph: Graph, decoder: ParamsGraph, x: str, mask: str) -> str:
        """See :class:`TorchHead`."""
        logits = graph.clip(decoder.params(self.block), LOGIT_LIMIT)
        linear = decoder.weighted_sum(logits, graph.add("Mul", x, mask), self.block.num_features)
        minus = graph.add("Mul", mask, graph.scalar(-1.0))
        return graph.add("Add", linear, decoder.weighted_sum(graph.softplus(logits), minus, self.block.num_features))

    def onnx_derivatives(self, graph: Graph, params: str, x: str, mask: str) -> Derivatives:
        """See :class:`TorchHead`."""
        share = graph.add("Sigmoid", graph.clip(params, LOGIT_LIMIT))
        bend = graph.add("Mul", graph.add("Sub", share, graph.add("Mul", share, share)), mask)
        return Derivatives(graph.add("Mul", graph.add("Sub", x, share), mask), bend, bend)

    def start(self, mean: Tensor) -> Tensor:
        """See :class:`TorchHead`."""
        return torch.logit(mean.clamp(_LEAST_SHARE, 1 - _LEAST_SHARE))
