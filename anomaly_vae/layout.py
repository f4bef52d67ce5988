"""Where each column stands in the networks' input and in the decoder's output.

Columns of one kind of head stand together, so that a likelihood is a few operations on blocks of arrays. A column has
one feature, or one for each category; it has one parameter a feature, or two where its variance depends on z.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from anomaly_vae.heads import CategoricalHead, ColumnModel, Head

__all__ = ["KINDS", "Block", "Layout"]

KINDS = ("gaussian", "conditional", "student_t", "logistic", "bernoulli", "count", "categorical")


class Block(NamedTuple):
    """The columns of one kind of head.

    Attributes:
        kind: One of :data:`KINDS`.
        columns: Their positions among the modelled columns, shape (G,).
        heads: Their heads.
        sizes: Features of each.
        features: Where their features stand, of F.
        params: Where their parameters stand, of P.
    """

    kind: str
    columns: NDArray[np.intp]
    heads: tuple[Head, ...]
    sizes: tuple[int, ...]
    features: slice
    params: slice

    @property
    def num_features(self) -> int:
        """Features of all its columns."""
        return int(self.features.stop - self.features.start)

    @property
    def num_params(self) -> int:
        """Parameters of all its columns."""
        return int(self.params.stop - self.params.start)

    @property
    def starts(self) -> NDArray[np.intp]:
        """The first feature of each column, counted within the block, shape (G,)."""
        return np.cumsum((0, *self.sizes[:-1]))


class Layout:
    """The blocks of a table's heads, in the order of :data:`KINDS`."""

    def __init__(self, columns: Sequence[ColumnModel]) -> None:
        """Lay out the modelled columns."""
        blocks, feature, param = [], 0, 0
        kinds = np.array([column.head.__struct_config__.tag for column in columns])
        for kind in KINDS:
            chosen = np.flatnonzero(kinds == kind)
            if not len(chosen):
                continue
            heads = tuple(columns[int(d)].head for d in chosen)
            sizes = tuple(head.size if isinstance(head, CategoricalHead) else 1 for head in heads)
            features = slice(feature, feature + sum(sizes))
            params = slice(param, param + sum(sizes) * (2 if kind == "conditional" else 1))
            blocks.append(Block(kind, chosen, heads, sizes, features, params))
            feature, param = features.stop, params.stop
        self.blocks = tuple(blocks)
        self.num_features, self.num_params = feature, param

    @property
    def order(self) -> NDArray[np.intp]:
        """The modelled columns in the order of their blocks, shape (M,)."""
        return np.concatenate([block.columns for block in self.blocks])

    @property
    def column_of_feature(self) -> NDArray[np.intp]:
        """For each feature, its column's place in :attr:`order`, shape (F,)."""
        sizes = [size for block in self.blocks for size in block.sizes]
        return np.repeat(np.arange(len(sizes)), sizes)
