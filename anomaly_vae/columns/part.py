"""p(x_d | z) of some columns of a model, in data units: what a model expects in a cell, given z."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from anomaly_vae.arrays import FloatArray
from anomaly_vae.columns.features import Features
from anomaly_vae.columns.heads import CategoricalHead
from anomaly_vae.columns.likelihood import TableLikelihood

__all__ = ["Part"]


class Part:
    """The density of C modelled columns given the decoder's output.

    Attributes:
        columns: Their indices in the schema, increasing.
    """

    def __init__(self, features: Features, columns: Sequence[int]) -> None:
        """Take some modelled columns out of a model.

        Args:
            features: All columns of the model.
            columns: Indices of the columns of the schema, increasing.
        """
        self.columns = tuple(columns)
        self._features, self._places = features.part(columns)
        self._likelihood = TableLikelihood(self._features.layout)
        heads = [head for block in self._features.layout.blocks for head in block.heads]
        self._texts = [head for head in heads if isinstance(head, CategoricalHead)]

    def params(self, params: FloatArray) -> FloatArray:
        """Return the part of the decoder's output that these columns need, (..., P) -> (..., p)."""
        return np.ascontiguousarray(params[..., self._places])

    def log_prob(self, values: FloatArray, params: FloatArray) -> FloatArray:
        """Return log p(values | z), summed over the columns, nats in data units.

        Args:
            values: G candidates, data units, shape (G, C).
            params: From :meth:`params`, shape (S, p).

        Returns:
            Shape (G, S).
        """
        inputs = self._features.encode(np.ascontiguousarray(values))
        found = self._likelihood.log_prob(inputs.x[:, None, :], inputs.mask[:, None, :], params[None])
        return np.asarray(found + inputs.base[:, None])

    def log_levels(self, params: FloatArray) -> FloatArray:
        """Return log p of every level of one column of text, nats, in the order of its head, (S, p) -> (levels, S).

        It is :meth:`log_prob` of one category of each level, in less time: a column may have many.
        """
        log_levels = CategoricalHead.likelihood(self._texts).log_levels(params)
        known = self._features.encode(np.zeros((1, 1)) + self._features.schema.columns[0].frequent[:1])
        return np.ascontiguousarray(log_levels.T) + known.base

    def draw(self, params: FloatArray, rng: np.random.Generator) -> FloatArray:
        """Draw one value of each column from each p(x | z), data units, (S, p) -> (S, C)."""
        return self._features.decode(self._likelihood.draw(params, rng), rng)
