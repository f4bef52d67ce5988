"""The place of each column in the networks' input and in the decoder's output.

Columns with the same kind of head stand side by side, so that a likelihood is a few operations on blocks of arrays.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from anomaly_vae.columns.heads import HEADS, ColumnModel, Head

__all__ = ["Block", "Layout"]


class Block(NamedTuple):
    """The columns with one kind of head.

    Attributes:
        kind: The name of the head, a key of :data:`HEADS`.
        columns: Indices of the columns among the modelled columns, shape (G,).
        heads: Their heads, G of them.
        sizes: Number of features of each column, G of them.
        features: Their part of the F features.
        params: Their part of the P parameters.
    """

    kind: str
    columns: NDArray[np.intp]
    heads: tuple[Head, ...]
    sizes: tuple[int, ...]
    features: slice
    params: slice

    @property
    def num_features(self) -> int:
        """Number of features of all columns."""
        return int(self.features.stop - self.features.start)

    @property
    def num_params(self) -> int:
        """Number of parameters of all columns."""
        return int(self.params.stop - self.params.start)

    @property
    def starts(self) -> NDArray[np.intp]:
        """The first feature of each column, counted from the start of the block, shape (G,)."""
        return np.cumsum((0, *self.sizes[:-1]))


class Layout:
    """The blocks of a table's columns, in the order of :data:`HEADS`."""

    def __init__(self, columns: Sequence[ColumnModel]) -> None:
        """Lay out the modelled columns."""
        blocks, feature, param = [], 0, 0
        kinds = np.array([column.head.kind() for column in columns])
        for kind, head_class in HEADS.items():
            chosen = np.flatnonzero(kinds == kind)
            if not len(chosen):
                continue
            heads = tuple(columns[int(d)].head for d in chosen)
            sizes = tuple(head.num_features for head in heads)
            features = slice(feature, feature + sum(sizes))
            params = slice(param, param + sum(sizes) * head_class.params_per_feature)
            blocks.append(Block(kind, chosen, heads, sizes, features, params))
            feature, param = features.stop, params.stop
        self.blocks = tuple(blocks)
        self.num_features, self.num_params = feature, param

    @property
    def order(self) -> NDArray[np.intp]:
        """Indices of the modelled columns in the order of their blocks, shape (M,)."""
        return np.concatenate([block.columns for block in self.blocks])

    def params_of(self, columns: NDArray[np.intp]) -> NDArray[np.intp]:
        """Return the places of the parameters of some modelled columns, in the order of a layout of these alone."""
        found = []
        for block in self.blocks:
            chosen = np.flatnonzero(np.isin(block.columns, columns))
            ends = block.starts + np.array(block.sizes)
            of_features = [np.arange(start, end) for start, end in zip(block.starts[chosen], ends[chosen], strict=True)]
            for j in range(block.num_params // block.num_features if len(chosen) else 0):
                found += [block.params.start + j * block.num_features + places for places in of_features]
        return np.concatenate(found)

    @property
    def column_of_feature(self) -> NDArray[np.intp]:
        """For each feature, the index of its column in :attr:`order`, shape (F,)."""
        sizes = [size for block in self.blocks for size in block.sizes]
        return np.repeat(np.arange(len(sizes)), sizes)
