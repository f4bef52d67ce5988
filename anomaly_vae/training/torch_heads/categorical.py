"""The categorical head in torch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from anomaly_vae.columns.heads import LOGIT_LIMIT, CategoricalHead, Head
from anomaly_vae.columns.layout import Block
from anomaly_vae.training.decoder_graph import ParamsGraph
from anomaly_vae.training.graph import Graph, to_numpy
from anomaly_vae.training.torch_heads.base import ColumnData, TorchHead
from anomaly_vae.training.torch_heads.derivatives import Derivatives

__all__ = ["Categorical"]

# Shares of categories from which training starts are at least 0.001: their logarithm is finite. Chosen, not measured.
_LEAST_SHARE = 1e-3


class Categorical(TorchHead):
    """softmax(logits(z)) of each column; x is 1 at its category."""

    members: Tensor

    def __init__(self, block: Block, floors: Sequence[float]) -> None:
        super().__init__(block, floors)
        column = torch.repeat_interleave(torch.arange(len(block.sizes)), torch.tensor(block.sizes))
        self.register_buffer("members", nn.functional.one_hot(column, len(block.sizes)).float())
        self.starts = block.starts.tolist()

    @classmethod
    def initial(cls, data: ColumnData) -> Head:
        """See :class:`TorchHead`."""
        return CategoricalHead(size=data.column.num_levels or 0)

    def forward(self, x: Tensor, params: Tensor, mask: Tensor) -> Tensor:
        """See :class:`TorchHead`."""
        logits = params.clamp(-LOGIT_LIMIT, LOGIT_LIMIT)
        log_total = torch.log(torch.exp(logits) @ self.members)
        return (x * logits * mask).sum(dim=-1) - (log_total * mask[..., self.starts]).sum(dim=-1)

    def onnx_log_prob(self, graph: Graph, decoder: ParamsGraph, x: str, mask: str) -> str:
        """See :class:`TorchHead`."""
        block = self.block
        logits = graph.clip(decoder.params(block), LOGIT_LIMIT)
        totals = decoder.combined(graph.add("Exp", logits), to_numpy(self.members))
        minus_first = np.zeros((block.num_features, len(block.sizes)))
        minus_first[block.starts, np.arange(len(block.sizes))] = -1.0
        minus = graph.add("MatMul", mask, graph.weight(minus_first))
        chosen = decoder.weighted_sum(logits, graph.add("Mul", x, mask), block.num_features)
        total = decoder.weighted_sum(graph.add("Log", totals), minus, len(block.sizes))
        return graph.add("Add", chosen, total)

    def onnx_derivatives(self, graph: Graph, params: str, x: str, mask: str) -> Derivatives:
        """See :class:`TorchHead`."""
        weights = graph.add("Exp", graph.clip(params, LOGIT_LIMIT))
        members = graph.weight(self.members)
        totals = graph.add("MatMul", graph.add("MatMul", weights, members), graph.weight(self.members.T))
        shares = graph.add("Div", weights, totals)
        bend = graph.add("Mul", graph.add("Sub", shares, graph.add("Mul", shares, shares)), mask)
        return Derivatives(graph.add("Mul", graph.add("Sub", x, shares), mask), bend, bend)

    def start(self, mean: Tensor) -> Tensor:
        """See :class:`TorchHead`."""
        return torch.log(mean.clamp(min=_LEAST_SHARE))
