"""What a scorer says of why rows are anomalies."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

from anomaly_vae.arrays import FloatArray
from anomaly_vae.columns.rows import to_rows
from anomaly_vae.explained import Why
from anomaly_vae.scorer.explainer import Explainer
from anomaly_vae.scorer.facts import ModelFacts
from anomaly_vae.scorer.judge import Judge

__all__ = ["Explains"]


class Explains(ModelFacts):
    """The explanations of an open model."""

    _judge: Judge

    def explain(
        self,
        X: Any,  # noqa: N803 (the name that scikit-learn uses)
        *,
        top: int = 3,
    ) -> list[list[Why]]:
        """Say why rows are anomalies: their columns in the order of blame, and what was expected there instead.

        Explaining a row takes as long as scoring 10 to 30 rows, more with many columns. It also works for rows
        that are not flagged: then no column has a large ``excess``.

        Args:
            X: As for ``score``.
            top: Columns of each row; fewer if it has fewer that are not missing.

        Returns:
            For each row a list of ``anomaly_vae.Why``, most to blame first.

        Raises:
            InvalidInput: As for ``score``.
            ConfigError: ``top`` is below 1.
        """
        return self.explain_rows(to_rows(X, self.schema), top=top)

    def explain_rows(
        self, rows: FloatArray, *, top: int = 3, on_rows: Callable[[int], None] | None = None
    ) -> list[list[Why]]:
        """Like ``explain``, for float64 rows (N, D) that were already checked against the schema.

        Args:
            rows: Data units.
            top: As for ``explain``.
            on_rows: Called with the number of rows just explained.
        """
        return self._explainer.explain(rows, top, on_rows)

    def heat_map(self, X: Any) -> FloatArray:  # noqa: N803 (the name that scikit-learn uses)
        """Return where rows are surprising, roughly: the conditional surprise of each cell's surroundings.

        Args:
            X: As for ``score``.

        Returns:
            Nats, the shape of rows (N, D), windows (N, length, channels) or images (N, height, width, channels). The
            cells of a region, such as a square of an image, share its surprise evenly.

        Raises:
            InvalidInput: As for ``score``.
        """
        found, shape = self._explainer.heat(to_rows(X, self.schema)), self.schema.shape
        return found if shape is None else found.reshape(len(found), *shape.sizes)

    @cached_property
    def _explainer(self) -> Explainer:
        return Explainer(self._judge)
