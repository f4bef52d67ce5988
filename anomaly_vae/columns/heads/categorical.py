"""A categorical head for columns of text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from anomaly_vae.arrays import FloatArray
from anomaly_vae.columns.heads.base import LOGIT_LIMIT, HeadRecord

__all__ = ["CategoricalHead", "CategoricalLikelihood"]


class CategoricalHead(HeadRecord, tag="categorical"):
    """softmax(logits(z)).

    Attributes:
        size: Number of levels: the categories that are not rare, and perhaps "other".
    """

    selectable: ClassVar[bool] = False  # the kind of the column chooses it

    size: Annotated[int, Meta(ge=2, le=4096)]

    @classmethod
    def likelihood(cls, heads: Sequence[CategoricalHead]) -> CategoricalLikelihood:
        """See :class:`~.base.HeadRecord`."""
        return CategoricalLikelihood([head.size for head in heads])

    @property
    def num_categories(self) -> int | None:
        """See :class:`~.base.HeadRecord`."""
        return self.size


class CategoricalLikelihood:
    """softmax(logits) of each column; x is 1 at its category and 0 elsewhere."""

    def __init__(self, sizes: Sequence[int]) -> None:
        """Take the number of categories of each column."""
        self._sizes = tuple(sizes)
        self._starts = np.cumsum((0, *sizes[:-1]))
        self._column_of_feature = np.repeat(np.arange(len(sizes)), sizes)

    def log_prob(self, x: FloatArray, mask: FloatArray, params: FloatArray) -> FloatArray:
        """See :class:`~.base.Likelihood`."""
        logits = np.clip(params, -LOGIT_LIMIT, LOGIT_LIMIT)
        log_total = np.log(np.add.reduceat(np.exp(logits), self._starts, axis=-1))
        kept = (log_total * mask[..., self._starts]).sum(axis=-1)
        return np.asarray((x * logits * mask).sum(axis=-1) - kept)

    def log_levels(self, params: FloatArray) -> FloatArray:
        """Return the log-probability of every category of every column, nats, (..., P) -> (..., P)."""
        logits = np.clip(params, -LOGIT_LIMIT, LOGIT_LIMIT)
        log_total = np.log(np.add.reduceat(np.exp(logits), self._starts, axis=-1))
        return np.asarray(logits - log_total[..., self._column_of_feature])

    def slope(self, x: FloatArray, mask: FloatArray, params: FloatArray) -> FloatArray:
        """See :class:`~.base.Likelihood`."""
        return (x - self._probabilities(params)) * mask

    def information(self, x: FloatArray, mask: FloatArray, params: FloatArray) -> FloatArray:  # noqa: ARG002 (the same for every x)
        """See :class:`~.base.Likelihood`."""
        p = self._probabilities(params)
        return p * (1.0 - p) * mask

    def center(self, params: FloatArray) -> FloatArray:
        """Return the index of the most probable category."""
        ends = np.cumsum(self._sizes)
        found = [params[:, end - size : end].argmax(axis=1) for end, size in zip(ends, self._sizes, strict=True)]
        return np.stack(found, axis=1).astype(np.float64)

    def draw(self, params: FloatArray, rng: np.random.Generator) -> FloatArray:
        """Draw the index of the largest logit plus Gumbel noise, which has the distribution softmax(logits)."""
        noisy: NDArray[np.float64] = np.clip(params, -LOGIT_LIMIT, LOGIT_LIMIT) + rng.gumbel(size=params.shape)
        ends = np.cumsum(self._sizes)
        found = [noisy[:, end - size : end].argmax(axis=1) for end, size in zip(ends, self._sizes, strict=True)]
        return np.stack(found, axis=1).astype(np.float64)

    def _probabilities(self, params: FloatArray) -> FloatArray:
        weights = np.exp(np.clip(params, -LOGIT_LIMIT, LOGIT_LIMIT))
        return weights / np.add.reduceat(weights, self._starts, axis=-1)[..., self._column_of_feature]
