"""Training rows on the device, and batches of them."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from anomaly_vae.arrays import FloatArray
from anomaly_vae.columns.features import Features
from anomaly_vae.columns.heads import HEADS
from anomaly_vae.columns.transforms import FAR
from anomaly_vae.training.group import Group
from anomaly_vae.training.row_source import LazyRows

__all__ = ["BATCH_SIZE", "Batches", "Data", "Streamed", "hide_cells", "load_rows"]

# Rows in a batch. Large batches are cheap: measured, a step takes 1.6 ms with 256 rows and 1.4 ms with 125. Larger
# sizes were not measured.
BATCH_SIZE = 256

# Upper end of the share of cells that are hidden in a row; each row draws its share uniformly from 0 to this. It covers
# rows with few and with many missing cells. Chosen, not measured.
_MAX_HIDDEN = 0.8

# Cells that are encoded at once. Chosen, not measured: each takes about 64 bytes meanwhile.
_CELLS_AT_ONCE = 2**20


class Data(NamedTuple):
    """Rows in model units on one device, (N, F) each."""

    x: Tensor
    mask: Tensor

    @property
    def num_rows(self) -> int:
        """N."""
        return len(self.x)

    @property
    def device(self) -> torch.device:
        """Where the rows are."""
        return self.x.device

    def take(self, chosen: Tensor) -> Data:
        """Return some of the rows."""
        return Data(self.x[chosen], self.mask[chosen])


class Streamed:
    """Rows that are read and encoded batch by batch, the next batch while the last one trains."""

    def __init__(self, features: Features, rows: LazyRows, device: torch.device) -> None:
        """Use these rows, and encode them to tensors on the device."""
        self._features, self._rows, self.device = features, rows, device

    @property
    def num_rows(self) -> int:
        """N."""
        return len(self._rows)

    def take(self, chosen: Tensor) -> Data:
        """Read some of the rows; those that cannot be read are left out."""
        return load_rows(self._features, self._rows.take(chosen.cpu().numpy()), self.device)


def load_rows(features: Features, rows: FloatArray, device: torch.device) -> Data:
    """Return the whole table as tensors on the device.

    Values of numeric columns are clipped at FAR standard deviations, counts are not.
    """
    at_once = max(_CELLS_AT_ONCE // max(rows.shape[1], 1), 1)
    if len(rows) <= at_once:
        return _loaded(features, rows, device)
    x, mask = (torch.empty(len(rows), features.layout.num_features, device=device) for _ in range(2))
    for start in range(0, len(rows), at_once):
        part = slice(start, start + at_once)
        x[part], mask[part] = _loaded(features, rows[part], device)
    return Data(x, mask)


def _loaded(features: Features, rows: FloatArray, device: torch.device) -> Data:
    inputs = features.encode(rows)
    x = inputs.x
    for block in features.layout.blocks:
        if HEADS[block.kind].takes_transform:
            x[:, block.features] = np.clip(x[:, block.features], -FAR, FAR)
    as_tensor = (torch.as_tensor(values, dtype=torch.float32).to(device) for values in (x, inputs.mask))
    return Data(*as_tensor)


def hide_cells(data: Data, column_of_feature: Tensor, draws: Tensor) -> Data:
    """Return the rows with random cells hidden: each row draws its own share, and each column is hidden as a whole.

    Args:
        data: The rows, (N, F).
        column_of_feature: The column of each feature, (F,).
        draws: Uniform from 0 to 1, shape (N, 1 + columns): for the share, and for each column.
    """
    visible = (draws[:, 1:] >= _MAX_HIDDEN * draws[:, :1])[:, column_of_feature]
    return Data(data.x * visible, data.mask * visible)


class Batches:
    """Endless batches of one size. Each pass visits every row once, in a new random order.

    A batch may contain the last rows of one pass and the first rows of the next.

    Attributes:
        size: Rows in a batch, those that cannot be read included.
        own: Those that this process computes.
    """

    def __init__(self, data: Data | Streamed, generator: torch.Generator, group: Group | None = None) -> None:
        """Use the rows of ``data`` and the random order of ``generator``; a group of processes shares each batch."""
        self._data, self._generator = data, generator
        self.size = min(BATCH_SIZE, data.num_rows)
        self.own = (group or Group()).share(self.size)
        self._order = torch.empty(0, dtype=torch.long, device=data.device)
        self._reader = ThreadPoolExecutor(1) if isinstance(data, Streamed) else None
        self._ahead: tuple[Tensor, Future[Data]] | None = None

    def next(self) -> Data:
        """Return the rows of the next batch that this process computes."""
        if self._reader is None:
            return self._data.take(self._chosen()[self.own])
        _, batch = self._ahead or self._read(self._reader)
        self._ahead = None
        found = batch.result()
        if len(self._order) >= self.size:  # a new order is drawn when it is due, as for rows in memory
            self._ahead = self._read(self._reader)
        return found

    def _read(self, reader: ThreadPoolExecutor) -> tuple[Tensor, Future[Data]]:
        """Start to read a batch."""
        chosen = self._chosen()
        return chosen, reader.submit(self._data.take, chosen[self.own])

    def _chosen(self) -> Tensor:
        """Return the numbers of the next batch."""
        if len(self._order) < self.size:
            more = torch.randperm(self._data.num_rows, generator=self._generator, device=self._data.device)
            self._order = torch.cat([self._order, more])
        chosen, self._order = self._order[: self.size], self._order[self.size :]
        return chosen

    def close(self) -> None:
        """End the reading ahead."""
        if self._reader is not None:
            self._reader.shutdown(cancel_futures=True)

    def state(self) -> dict[str, Any]:
        """Return the state for a checkpoint: the rows that this pass has not visited yet."""
        ahead = () if self._ahead is None else (self._ahead[0],)
        return {"order": torch.cat([*ahead, self._order])}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a state that :meth:`state` returned."""
        self._order, self._ahead = state["order"].to(self._data.device), None
