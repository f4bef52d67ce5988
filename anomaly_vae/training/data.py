"""Training rows on the device, and batches of them."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from anomaly_vae.densities import FloatArray
from anomaly_vae.features import Features
from anomaly_vae.transforms import FAR

__all__ = ["BATCH", "Batches", "Data", "hide_cells", "load"]

# The cost is the optimiser's step, so few, large steps.
BATCH = 256

# Cells of a row are hidden at a rate between 0 and this.
_MOST_HIDDEN = 0.8


class Data(NamedTuple):
    """Rows in model units on one device, (N, F) each."""

    x: Tensor
    mask: Tensor


def load(features: Features, rows: FloatArray, device: torch.device) -> Data:
    """The whole table as two tensors; far values of numbers are cut, counts are not."""
    inputs = features.encode(rows)
    x = inputs.x
    for block in features.layout.blocks:
        if block.kind != "count":
            x[:, block.features] = np.clip(x[:, block.features], -FAR, FAR)
    as_tensor = (torch.as_tensor(values, dtype=torch.float32).to(device) for values in (x, inputs.mask))
    return Data(*as_tensor)


def hide_cells(data: Data, column_of_feature: Tensor, generator: torch.Generator) -> Data:
    """Hide cells of rows, at a rate of its own for each of them."""
    num_columns = int(column_of_feature[-1]) + 1
    draws = torch.rand(len(data.x), num_columns + 1, generator=generator, device=data.x.device)
    kept = (draws[:, 1:] >= _MOST_HIDDEN * draws[:, :1])[:, column_of_feature]
    return Data(data.x * kept, data.mask * kept)


class Batches:
    """Endless batches of one size: every pass visits each row once in a new order, a batch may span two passes."""

    def __init__(self, data: Data, generator: torch.Generator) -> None:
        """Start before the first pass."""
        self._data, self._generator = data, generator
        self._size = min(BATCH, len(data.x))
        self._order = torch.empty(0, dtype=torch.long, device=data.x.device)

    def next(self) -> Data:
        """The next rows."""
        if len(self._order) < self._size:
            more = torch.randperm(len(self._data.x), generator=self._generator, device=self._data.x.device)
            self._order = torch.cat([self._order, more])
        chosen, self._order = self._order[: self._size], self._order[self._size :]
        return Data(self._data.x[chosen], self._data.mask[chosen])

    def state(self) -> dict[str, Any]:
        """What a checkpoint needs."""
        return {"order": self._order.clone()}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on where a checkpoint was made."""
        self._order = state["order"].to(self._data.x.device)
