"""p(x|z) of a whole table in torch: one head module per block of columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from msgspec import structs
from torch import Tensor, nn

from anomaly_vae.columns.heads import HEADS, ColumnModel
from anomaly_vae.columns.layout import Block, Layout
from anomaly_vae.training.torch_heads import TORCH_HEADS, TorchHead, std_floor

__all__ = ["TableHead", "column_std_floor"]


def column_std_floor(column: ColumnModel) -> float:
    """Return the smallest standard deviation of a column given z, model units."""
    return std_floor(column.head.grid_step, column.transform)


class TableHead(nn.Module):
    """The heads of all blocks; the decoder's output is (..., P), laid out by :class:`Layout`."""

    def __init__(self, columns: Sequence[ColumnModel]) -> None:
        super().__init__()
        self.columns = tuple(columns)
        self.layout = Layout(columns)
        self.parts = nn.ModuleList(
            TORCH_HEADS[block.kind](block, [column_std_floor(columns[int(d)]) for d in block.columns])
            for block in self.layout.blocks
        )

    def log_prob(self, x: Tensor, params: Tensor, mask: Tensor) -> Tensor:
        """Return log p(x|z) in nats, summed over the columns with mask 1, (..., F) -> (...,)."""
        total = torch.zeros((), dtype=x.dtype, device=x.device)
        for block, part in self.pairs():
            total = total + part(x[..., block.features], params[..., block.params], mask[..., block.features])
        return total

    def base(self, x: Tensor, mask: Tensor) -> Tensor:
        """Return the part of :meth:`log_prob` that does not depend on z, (..., F) -> (...,).

        The exported networks leave it out: :class:`anomaly_vae.columns.features.Features` computes it.
        """
        total = torch.zeros((), dtype=x.dtype, device=x.device)
        for block, part in self.pairs():
            if HEADS[block.kind].has_base:
                total = total + (part.base(x[..., block.features]) * mask[..., block.features]).sum(dim=-1)
        return total

    def start(self, x: Tensor, mask: Tensor) -> Tensor:
        """Return decoder outputs under which the columns have the marginals of rows (N, F), shape (P,)."""
        mean = (x * mask).sum(0) / mask.sum(0).clamp(min=1.0)
        return torch.cat([part.start(mean[block.features]) for block, part in self.pairs()])

    def column_models(self) -> tuple[ColumnModel, ...]:
        """Return the columns with the learned values."""
        found = list(self.columns)
        for block, part in self.pairs():
            for d, head in zip(block.columns, part.heads(), strict=True):
                found[d] = structs.replace(self.columns[d], head=head)
        return tuple(found)

    def pairs(self) -> Iterator[tuple[Block, TorchHead]]:
        """Yield each block and its head."""
        for block, part in zip(self.layout.blocks, self.parts, strict=True):
            if isinstance(part, TorchHead):
                yield block, part
