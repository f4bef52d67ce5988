"""Score the rows of a table and write them, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from anomaly_vae.arrays import FloatArray
from anomaly_vae.batch.kept import check_keep
from anomaly_vae.batch.selection import ROW, LowestRow, Selection, order_keys
from anomaly_vae.batch.summary import ScoreSummary
from anomaly_vae.columns.rows import match_columns
from anomaly_vae.columns.schema import Schema
from anomaly_vae.score_options import ScoreOptions, warn_uncalibrated
from anomaly_vae.scores import Flags, Scores
from anomaly_vae.table import Batch, Table, open_writer
from anomaly_vae.table.arrow import from_numpy, from_strings, scatter

__all__ = ["FLAG_SCHEMA", "OUTPUT_SCHEMA", "RowScorer", "score_table"]

OUTPUT_SCHEMA = pa.schema(
    [
        ("log_px", pa.float64()),
        ("elbo", pa.float64()),
        ("std_error", pa.float64()),
        ("ess_ratio", pa.float64()),
        ("p_value", pa.float64()),
        ("is_anomaly", pa.bool_()),
        ("reason", pa.string()),
        ("pareto_k", pa.float64()),
        ("reliable", pa.bool_()),
        ("num_samples", pa.int64()),
        ("score", pa.float64()),
    ]
)
FLAG_SCHEMA = pa.schema([("is_anomaly", pa.bool_()), ("reason", pa.string()), ("num_samples", pa.int64())])


class RowScorer(Protocol):
    """Scores rows for :func:`score_table`; both :class:`anomaly_vae.scorer.Scorer` and the blocking client do."""

    @property
    def schema(self) -> Schema:
        """The model's columns."""
        ...

    @property
    def num_samples(self) -> int:
        """Most decoder evaluations per row in the calibration."""
        ...

    def score_rows(
        self,
        rows: FloatArray,
        *,
        num_samples: int | None = None,
        max_std_error: float | None = None,
        target_fpr: float | None = None,
    ) -> Scores:
        """Score checked rows (N, D)."""
        ...

    def flag_rows(self, rows: FloatArray, *, target_fpr: float | None = None) -> Flags:
        """Flag checked rows (N, D)."""
        ...


def score_table(
    scorer: RowScorer,
    table: Table,
    output: str,
    *,
    keep: Sequence[str] = (),
    options: ScoreOptions | None = None,
    only_flagged: bool = False,
    top: int | None = None,
    overwrite: bool = False,
    on_batch: Callable[[ScoreSummary], None] | None = None,
) -> ScoreSummary:
    """Score the rows of a table and write them to a file, in input order.

    Rows that cannot be scored are written with nulls and a reason. With ``only_flagged`` or ``top`` they are only
    counted, and the output starts with the column ``row``: the number of the input row, from 1.

    Args:
        scorer: Scores the rows.
        table: The input.
        output: Path of the file to write (.csv or .parquet), or "-" for standard output.
        keep: Input columns to copy to the output.
        options: What to compute.
        only_flagged: Write only flagged rows.
        top: Write only this many rows, the most anomalous first: rows that rank below all others, then by p-value
            and score.
        overwrite: Whether an existing output is replaced.
        on_batch: Called after each batch with the counts so far.

    Raises:
        InvalidInput: A column of the model or of ``keep`` is missing or has the wrong type.
        ConfigError: An option is wrong, a kept name is also an output column, or the output cannot be written.
    """
    options = options or ScoreOptions()
    selection = Selection(only_flagged=only_flagged, top=top)
    selection.check(options, scorer.num_samples)
    results = FLAG_SCHEMA if options.flag_only else OUTPUT_SCHEMA
    numbered = [ROW] if selection.is_partial else []
    match_columns(table.names, scorer.schema.names)
    check_keep(table, keep, output, pa.schema([*numbered, *results]))
    schema = pa.schema([*numbered, *table.schema_of(keep), *results])
    # Refuses wrong options before a row is read.
    nothing = _score(scorer, np.empty((0, len(scorer.schema.columns))), options)
    warn_uncalibrated(options, scorer.num_samples)
    has_flags = nothing.is_anomaly is not None
    summary = ScoreSummary(anomalies=0 if has_flags else None, written=0 if selection.is_partial else None)
    lowest = LowestRow()
    batches = table.batches(scorer.schema.reader(), keep)  # refuses a table of other columns before the output opens
    with open_writer(output, schema, overwrite=overwrite) as writer, selection.writing(writer, summary) as chosen:
        for batch in batches:
            usable = np.array([fault is None for fault in batch.faults], dtype=bool)
            rows, numbers = scorer.schema.expand(batch.rows[usable]), summary.rows + 1 + np.arange(len(usable))
            scores = _score(scorer, rows, options)
            keys = order_keys(scores, rows, scorer.schema, numbers[usable])
            columns = [*([from_numpy(numbers)] if numbered else []), *batch.kept.columns]
            columns += _columns(scores, results, usable, batch)
            chosen.write(pa.RecordBatch.from_arrays(columns, schema=schema), usable, scores, keys)
            summary.note(batch)
            if summary.anomalies is not None and scores.is_anomaly is not None:
                summary.anomalies += int(scores.is_anomaly.sum())
            summary.most_anomalous_row = lowest.update(keys)
            if on_batch:
                on_batch(summary)
    return summary


def _score(scorer: RowScorer, rows: FloatArray, options: ScoreOptions) -> Scores | Flags:
    if options.flag_only:
        return scorer.flag_rows(rows, target_fpr=options.target_fpr)
    return scorer.score_rows(
        rows,
        num_samples=options.num_samples,
        max_std_error=options.max_std_error,
        target_fpr=options.target_fpr,
    )


def _columns(scores: Scores | Flags, schema: pa.Schema, usable: NDArray[np.bool_], batch: Batch) -> list[pa.Array]:
    """Return the output columns of a batch, with nulls where there is no value, and one reason per row or null."""
    reason = iter(scores.reason)
    reasons = [next(reason) if fault is None else fault.text for fault in batch.faults]
    columns = []
    for column in schema:
        values = getattr(scores, column.name)
        if column.name == "reason":
            columns.append(from_strings(reasons))
        else:
            columns.append(pa.nulls(len(usable), column.type) if values is None else scatter(values, usable))
    return columns
