"""What a scorer says of the latent space: where rows lie in it, and what the model makes of a position."""

from __future__ import annotations

from typing import Any

from anomaly_vae.arrays import FloatArray
from anomaly_vae.columns.rows import to_rows
from anomaly_vae.density.reconstruction import middle_rows
from anomaly_vae.density.synthesis import sample_rows
from anomaly_vae.scorer.facts import ModelFacts
from anomaly_vae.scorer.judge import Judge

__all__ = ["Latent"]


class Latent(ModelFacts):
    """The latent space of an open model."""

    _judge: Judge

    def encode(self, X: Any) -> FloatArray:  # noqa: N803 (the name that scikit-learn uses)
        """Return the means of q(z|x), shape (N, L).

        Args:
            X: As for ``score``.

        Returns:
            Coordinates in the latent space, without a unit. For an ensemble, those of its members side by side.

        Raises:
            InvalidInput: As for ``score``.
        """
        return self.encode_rows(to_rows(X, self.schema))

    def encode_rows(self, rows: FloatArray) -> FloatArray:
        """Like ``encode``, for float64 rows (N, D) that were already checked against the schema."""
        return self._judge.estimator.encode(rows)

    def reconstruct(self, X: Any) -> FloatArray:  # noqa: N803 (the name that scikit-learn uses)
        """Return what the model makes of each row: the middle of p(x|z) at the mean of q(z|x), in data units.

        Numbers are means, categories are the indices of the most probable ones, and missing cells are filled in. For an
        ensemble it is that of the first member. It shows what the model has learned; it is not an anomaly score.

        Args:
            X: As for ``score``.

        Returns:
            Rows (N, D), windows (N, length, channels) or images (N, height, width, channels).

        Raises:
            InvalidInput: As for ``score``.
        """
        member, shape = self._judge.estimator.members[0], self.schema.shape
        means = self.encode(X)[:, : member.latent_dim]
        rows = middle_rows(member, means)
        return rows if shape is None else rows.reshape(len(rows), *shape.sizes)

    def sample(self, n: int, seed: int = 0) -> FloatArray:
        """Draw synthetic rows from the model, data units, shape (n, D).

        A categorical column holds indices into the schema's categories.

        Args:
            n: Number of rows.
            seed: The same seed gives the same rows.
        """
        return sample_rows(self._judge.estimator.members, n, seed)
