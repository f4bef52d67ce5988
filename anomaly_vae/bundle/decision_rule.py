"""What decides that a row is an anomaly: the tail, the ranks of thresholds, and the scores of the calibration rows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from anomaly_vae.arrays import FloatArray
from anomaly_vae.calibration import (
    Calibration,
    conformal_p_value,
    contrast_rank_of,
    rank,
    rank_for,
    rank_from_top,
    rate_of_rank,
    sides,
    threshold_at_rank,
)
from anomaly_vae.record import Tail

__all__ = ["DecisionRule"]


class DecisionRule:
    """Gives p-values and flags for scores; a row is flagged exactly if its p-value is at most ``effective_fpr``.

    Attributes:
        tail: Whether only low scores are anomalies, or also high ones.
        rank: k, the rank of the thresholds among the n calibration scores, from below and from above.
        effective_fpr: The share of normal rows that may be flagged.
        threshold: The k-th smallest score, nats; lower scores are anomalies.
        upper_threshold: The k-th largest score, nats; higher scores are anomalies. None if only low ones are.
        contrast_rank: The rank of the threshold of the contrast; None for a model without a contrast.
        contrast_threshold: The contrast of this rank, nats; rows with a lower contrast are anomalies.
    """

    def __init__(
        self,
        calibration: Calibration,
        scores: FloatArray,
        target_fpr: float | None = None,
        tail: Tail | None = None,
        contrast: FloatArray | None = None,
    ) -> None:
        """Find the thresholds.

        Args:
            calibration: The record of the manifest.
            scores: The sorted scores of its rows that do not rank below all others, nats, shape (n - num_novel,).
            target_fpr: Another false-positive rate than that of the calibration; None for that.
            tail: Another tail; None for that of the calibration.
            contrast: The sorted contrasts of the calibration rows, nats, shape (n,); None without a contrast.

        Raises:
            ConfigError: There are too few calibration rows for that rate and tail.
        """
        self._scores, self._num_rows, self._num_novel = scores, calibration.num_rows, calibration.num_novel
        self.tail: Tail = tail or calibration.tail
        self._contrast, self.contrast_rank, self.contrast_threshold = contrast, calibration.contrast_rank, None
        if target_fpr is None and self.tail == calibration.tail:
            self.rank = calibration.rank
        else:
            target_fpr = target_fpr or calibration.target_fpr
            self.rank = rank_for(calibration, target_fpr, self.tail)
            if contrast is not None:
                n, confidence = calibration.num_rows, calibration.confidence
                self.contrast_rank = contrast_rank_of(n, self.rank, target_fpr, confidence, self.tail)
        if contrast is not None and self.contrast_rank is not None:
            self.contrast_threshold = float(contrast[self.contrast_rank - 1])
        self.effective_fpr = rate_of_rank(self._num_rows, self.rank, self.tail, self.contrast_rank)
        self.threshold = threshold_at_rank(scores, self._num_novel, self.rank)
        self.upper_threshold = float(scores[-self.rank]) if self.tail == "both" else None

    @property
    def neutral_score(self) -> float:
        """The score of a row with nothing to judge: no calibration score is less of an anomaly."""
        if self.tail == "low":
            return float(self._scores[-1])
        return float(self._scores[(self._num_rows + 1) // 2 - self._num_novel - 1])

    def below_all(self, score: FloatArray) -> FloatArray:
        """Return scores (N,) lowered by the range of the calibration scores, and at least below the lowest of them."""
        lowest, highest = self._scores[0], self._scores[-1]
        return np.asarray(np.minimum(score - (highest - lowest), np.nextafter(lowest, -np.inf)))

    def ranks(self, scores: FloatArray) -> NDArray[np.int64]:
        """Return how many calibration rows are at least as anomalous as each score, on its nearer side, shape (N,).

        Args:
            scores: Nats, shape (N,); ``-inf`` for a row that ranks below all others.
        """
        ranks = rank(self._scores, self._num_novel, scores)
        if self.tail == "low":
            return ranks
        return np.minimum(ranks, rank_from_top(self._scores, self._num_novel, scores))

    def contrast_ranks(self, contrast: FloatArray | None) -> NDArray[np.int64] | None:
        """Return how many calibration rows have a contrast at or below each contrast, shape (N,); None without one."""
        if self._contrast is None or contrast is None:
            return None
        return np.asarray(np.searchsorted(self._contrast, contrast, side="right"), dtype=np.int64)

    def p_values(self, ranks: NDArray[np.int64], contrast_ranks: NDArray[np.int64] | None = None) -> FloatArray:
        """Return the p-values of :meth:`ranks` and :meth:`contrast_ranks`, in (0, 1], shape (N,)."""
        if contrast_ranks is None:
            return conformal_p_value(ranks, self._num_rows, self.tail)
        of_score, of_contrast = sides(self.tail) * (1.0 + ranks), 1.0 + contrast_ranks
        return np.asarray(np.minimum(2.0 * np.minimum(of_score, of_contrast) / (self._num_rows + 1.0), 1.0))

    def flags(self, ranks: NDArray[np.int64], contrast_ranks: NDArray[np.int64] | None = None) -> NDArray[np.bool_]:
        """Return which of :meth:`ranks` and :meth:`contrast_ranks` are anomalies, shape (N,)."""
        flags = np.asarray(ranks < self.rank)
        return flags if contrast_ranks is None else flags | self.contrast_flags(contrast_ranks)

    def contrast_flags(self, contrast_ranks: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return which rows are anomalies by their contrast, shape (N,)."""
        return np.asarray(contrast_ranks < (self.contrast_rank or 0))
