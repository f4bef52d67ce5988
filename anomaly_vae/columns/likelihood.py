"""p(x|z) of a whole table: one likelihood per block of columns.

The proposal needs the density, slope and curvature in the decoder's output. The terms that do not depend on z are in
:attr:`anomaly_vae.columns.features.Inputs.base`.
"""

from __future__ import annotations

import numpy as np

from anomaly_vae.arrays import FloatArray
from anomaly_vae.columns.heads import HEADS, Likelihood
from anomaly_vae.columns.layout import Layout

__all__ = ["Likelihood", "TableLikelihood"]


class TableLikelihood:
    """The likelihoods of all blocks of a layout."""

    def __init__(self, layout: Layout) -> None:
        """Make the likelihood of each block."""
        self._parts = [(block, HEADS[block.kind].likelihood(block.heads)) for block in layout.blocks]

    def log_prob(self, x: FloatArray, mask: FloatArray, params: FloatArray) -> FloatArray:
        """See :class:`Likelihood`."""
        parts = [
            likelihood.log_prob(x[..., block.features], mask[..., block.features], params[..., block.params])
            for block, likelihood in self._parts
        ]
        total = parts[0]
        for part in parts[1:]:
            total = total + part
        return total

    def slope(self, x: FloatArray, mask: FloatArray, params: FloatArray) -> FloatArray:
        """See :class:`Likelihood`."""
        return _joined(
            [
                likelihood.slope(x[..., block.features], mask[..., block.features], params[..., block.params])
                for block, likelihood in self._parts
            ]
        )

    def information(self, x: FloatArray, mask: FloatArray, params: FloatArray) -> FloatArray:
        """See :class:`Likelihood`."""
        return _joined(
            [
                likelihood.information(x[..., block.features], mask[..., block.features], params[..., block.params])
                for block, likelihood in self._parts
            ]
        )

    def center(self, params: FloatArray) -> FloatArray:
        """Return the middle of each column, in the order of the layout, (N, P) -> (N, M); see :class:`Likelihood`."""
        return _joined([likelihood.center(params[..., block.params]) for block, likelihood in self._parts])

    def draw(self, params: FloatArray, rng: np.random.Generator) -> FloatArray:
        """Draw one value per column, in the order of the layout, (N, P) -> (N, M); see :class:`Likelihood`."""
        return _joined([likelihood.draw(params[..., block.params], rng) for block, likelihood in self._parts])


def _joined(parts: list[FloatArray]) -> FloatArray:
    return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=-1)
