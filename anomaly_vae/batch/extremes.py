"""The most and the least likely rows of a job, for pictures, in bounded memory."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from anomaly_vae.arrays import FloatArray
from anomaly_vae.scores import Scores, join

__all__ = ["Extremes"]


class Extremes:
    """The rows with the lowest and the highest scores so far, at most ``count`` on either side.

    Attributes:
        numbers: Their numbers in the input, by increasing score.
        rows: The rows, shape (n, D).
        scores: Their scores.
    """

    numbers: list[int]
    rows: FloatArray
    scores: Scores

    def __init__(self, count: int) -> None:
        self._count = count
        self.numbers = []

    def __len__(self) -> int:
        return len(self.numbers)

    def add(self, numbers: Sequence[int], rows: FloatArray, scores: Scores) -> None:
        """Take rows (n, D) with their numbers and scores."""
        if not len(numbers):
            return
        if self.numbers:
            numbers = [*self.numbers, *numbers]
            rows, scores = np.concatenate([self.rows, rows]), join([self.scores, scores])
        order = np.lexsort((np.asarray(numbers), scores.score))
        if len(order) > 2 * self._count:
            order = np.concatenate([order[: self._count], order[-self._count :]])
        self.numbers, self.rows, self.scores = [numbers[i] for i in order.tolist()], rows[order], scores[order]
