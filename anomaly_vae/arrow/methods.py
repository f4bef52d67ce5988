"""The methods of a scorer that take Arrow batches. Importing them does not import pyarrow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from anomaly_vae.record import Tail
from anomaly_vae.score_options import ScoreOptions

if TYPE_CHECKING:
    from anomaly_vae.arrow.scoring import ScoresRows

__all__ = ["ScoresArrow"]

# A pyarrow.RecordBatch or a pyarrow.Table.
Rows = TypeVar("Rows")


class ScoresArrow:
    """Scores for Arrow batches, for everything that scores checked rows."""

    def score_arrow(
        self: ScoresRows,
        batch: Rows,
        *,
        keep: Sequence[str] = (),
        flag_only: bool = False,
        num_samples: int | None = None,
        max_std_error: float | None = None,
        target_fpr: float | None = None,
        tail: Tail | None = None,
    ) -> Rows:
        """Score every row of an Arrow batch, and return the columns that ``anomaly-vae score`` writes.

        It is for streams of batches, as DuckDB, Polars, Spark and datasets of Arrow give them: a row that cannot be
        scored has nulls and a ``reason``, and does not stop the stream. Scores are those of ``score``, bit for bit.

        Args:
            batch: A ``pyarrow.RecordBatch`` or ``pyarrow.Table``. Columns are found by name, in any order; further
                columns are ignored. Nulls and NaN are missing cells.
            keep: Names of columns to copy, unchanged; they come first.
            flag_only: Decide only, as ``flag`` does, with far fewer samples.
            num_samples, max_std_error, target_fpr, tail: As for ``score``.

        Returns:
            A batch or table, as ``batch`` is: one row for each of its rows, in order, with the columns of ``keep``
            and those of ``arrow_schema``. Missing values are null, never NaN.

        Raises:
            InvalidInput: A column is missing, appears twice or is of another type than in training, or the batch is
                damaged.
            ConfigError: An option is wrong, a kept name is also one of the results, or the model is one of series or
                images.
        """
        from anomaly_vae.arrow.scoring import score_arrow

        options = ScoreOptions(
            num_samples=num_samples,
            max_std_error=max_std_error,
            target_fpr=target_fpr,
            tail=tail,
            flag_only=flag_only,
        )
        scored: Rows = score_arrow(self, batch, options, keep)
        return scored

    def arrow_schema(self: ScoresRows, *, flag_only: bool = False) -> Any:
        """Return the columns of ``score_arrow`` as a ``pyarrow.Schema``, without those of ``keep``.

        It is known before a row is scored, as Spark, Polars and writers of files need it.

        Args:
            flag_only: As for ``score_arrow``.

        Raises:
            ConfigError: The model is one of series or images.
        """
        from anomaly_vae.arrow.scoring import arrow_schema

        return arrow_schema(self, ScoreOptions(flag_only=flag_only))
