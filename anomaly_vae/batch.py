"""Batch jobs: read a table, score or encode its rows and write the result, in bounded memory and input order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from anomaly_vae.arrays import FloatArray
from anomaly_vae.columns.rows import match_columns
from anomaly_vae.columns.schema import Schema
from anomaly_vae.errors import ConfigError, InvalidInput
from anomaly_vae.score_options import ScoreOptions, warn_uncalibrated
from anomaly_vae.scores import Flags, Scores
from anomaly_vae.table import Batch, CodeBook, Table, fits_csv, open_writer
from anomaly_vae.table.arrow import from_numpy, from_strings, scatter

if TYPE_CHECKING:
    from anomaly_vae.scorer import Scorer

__all__ = [
    "FLAG_SCHEMA",
    "OUTPUT_SCHEMA",
    "RowScorer",
    "ScoreOptions",
    "ScoreSummary",
    "encode_table",
    "read_usable",
    "sample_table",
    "score_table",
]

# Synthetic rows per block. Chosen, not measured: larger blocks need more memory, smaller ones more calls.
_ROWS_PER_BLOCK = 16_384
# Difference between the seeds of consecutive blocks: a prime, so that seeds a user would choose (0, 1, 2, ...) do not
# meet within the blocks of another run. Changing it changes the output of `anomaly-vae sample`.
_SEED_STEP = 1_000_003

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


@dataclass
class ScoreSummary:
    """Counts of a batch job.

    Attributes:
        rows: Rows read.
        anomalies: Rows flagged; None if the options give no flags.
        unscored: Number of rows without a score, by kind of fault.
        examples: The first row of each kind of fault: its number (from 1) and what is wrong.
    """

    rows: int = 0
    anomalies: int | None = None
    unscored: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)

    def note(self, batch: Batch) -> None:
        """Add the rows and faults of a batch."""
        for i, fault in enumerate(batch.faults):
            if fault is not None:
                self.unscored[fault.kind] += 1
                self.examples.setdefault(fault.kind, f"row {self.rows + i + 1}: {fault.text}")
        self.rows += len(batch.faults)

    def describe(self) -> str:
        """Return the counts as one line of text."""
        text = f"{self.rows:,} rows" + ("" if self.anomalies is None else f", {self.anomalies:,} flagged")
        if self.unscored:
            kinds = ", ".join(f"{count:,} {kind}" for kind, count in sorted(self.unscored.items()))
            example = min(self.examples.values(), key=len)
            text += f", {self.unscored.total():,} not scored ({kinds}; for example {example})"
        return text


def score_table(
    scorer: RowScorer,
    table: Table,
    output: str,
    *,
    keep: Sequence[str] = (),
    options: ScoreOptions | None = None,
    overwrite: bool = False,
    on_batch: Callable[[ScoreSummary], None] | None = None,
) -> ScoreSummary:
    """Score the rows of a table and write them to a file, in input order.

    Rows that cannot be scored are written with nulls and a reason.

    Args:
        scorer: Scores the rows.
        table: The input.
        output: Path of the file to write (.csv or .parquet), or "-" for standard output.
        keep: Input columns to copy to the output.
        options: What to compute.
        overwrite: Whether an existing output is replaced.
        on_batch: Called after each batch with the counts so far.

    Raises:
        InvalidInput: A column of the model or of ``keep`` is missing or has the wrong type.
        ConfigError: An option is wrong, a kept name is also an output column, or the output cannot be written.
    """
    options = options or ScoreOptions()
    results = FLAG_SCHEMA if options.flag_only else OUTPUT_SCHEMA
    match_columns(table.names, scorer.schema.names)
    _check_keep(table, keep, output, results)
    schema = pa.schema([*table.schema_of(keep), *results])
    _score(scorer, np.empty((0, len(scorer.schema.names))), options)  # refuses wrong options before a row is read
    warn_uncalibrated(options, scorer.num_samples)
    summary = ScoreSummary()
    with open_writer(output, schema, overwrite=overwrite) as writer:
        for batch in table.batches(scorer.schema.names, keep, CodeBook(scorer.schema.categories)):
            usable = np.array([fault is None for fault in batch.faults], dtype=bool)
            scores = _score(scorer, batch.rows[usable], options)
            columns = [*batch.kept.columns, *_columns(scores, results, usable, batch)]
            writer.write(pa.RecordBatch.from_arrays(columns, schema=schema))
            summary.note(batch)
            if scores.is_anomaly is not None:
                summary.anomalies = (summary.anomalies or 0) + int(scores.is_anomaly.sum())
            if on_batch:
                on_batch(summary)
    return summary


def encode_table(
    scorer: Scorer,
    table: Table,
    output: str,
    *,
    keep: Sequence[str] = (),
    overwrite: bool = False,
    on_batch: Callable[[ScoreSummary], None] | None = None,
) -> ScoreSummary:
    """Write the means of q(z|x) of a table's rows; rows that cannot be read are written with nulls.

    Args:
        scorer: The model.
        table, output, keep, overwrite, on_batch: As for :func:`score_table`.

    Raises:
        InvalidInput, ConfigError: As for :func:`score_table`.
    """
    match_columns(table.names, scorer.schema.names)
    width = scorer.encode_rows(np.empty((0, len(scorer.schema.names)))).shape[1]
    latent = pa.schema([(f"z{i}", pa.float64()) for i in range(width)])
    _check_keep(table, keep, output, latent)
    schema = pa.schema([*table.schema_of(keep), *latent])
    summary = ScoreSummary()
    with open_writer(output, schema, overwrite=overwrite) as writer:
        for batch in table.batches(scorer.schema.names, keep, CodeBook(scorer.schema.categories)):
            usable = np.array([fault is None for fault in batch.faults], dtype=bool)
            means = scorer.encode_rows(batch.rows[usable])
            columns = [*batch.kept.columns, *(scatter(means[:, i], usable) for i in range(width))]
            writer.write(pa.RecordBatch.from_arrays(columns, schema=schema))
            summary.note(batch)
            if on_batch:
                on_batch(summary)
    return summary


def sample_table(
    scorer: Scorer,
    output: str,
    num_rows: int,
    seed: int,
    *,
    overwrite: bool = False,
    on_rows: Callable[[int], None] | None = None,
) -> None:
    """Write synthetic rows, with the text of each category.

    Args:
        scorer: The model.
        output: As for :func:`score_table`.
        num_rows: How many rows to write.
        seed: The same seed and number of rows give the same file.
        overwrite: Whether an existing output is replaced.
        on_rows: Called with the number of rows just written.
    """
    fields = [
        (column.name, pa.string() if column.categories is not None else pa.float64())
        for column in scorer.schema.columns
    ]
    schema = pa.schema(fields)
    with open_writer(output, schema, overwrite=overwrite) as writer:
        for i, start in enumerate(range(0, num_rows, _ROWS_PER_BLOCK)):
            rows = scorer.sample(min(_ROWS_PER_BLOCK, num_rows - start), (seed + i * _SEED_STEP) % 2**32)
            columns = [
                from_numpy(np.ascontiguousarray(rows[:, d]))
                if column.categories is None
                else from_strings([column.categories[int(code)] for code in rows[:, d]])
                for d, column in enumerate(scorer.schema.columns)
            ]
            writer.write(pa.RecordBatch.from_arrays(columns, schema=schema))
            if on_rows:
                on_rows(len(rows))


def read_usable(
    table: Table,
    columns: Sequence[str],
    book: CodeBook | None = None,
    on_batch: Callable[[ScoreSummary], None] | None = None,
) -> tuple[FloatArray, ScoreSummary]:
    """Read all usable rows into memory, shape (N, D), and count the unusable ones.

    Args:
        table: The input.
        columns: Names of the D columns.
        book: Codes of text columns.
        on_batch: Called after each batch with the counts so far.
    """
    summary, parts = ScoreSummary(), [np.empty((0, len(columns)))]
    for batch in table.batches(columns, book=book):
        usable = np.array([fault is None for fault in batch.faults], dtype=bool)
        parts.append(batch.rows[usable])
        summary.note(batch)
        if on_batch:
            on_batch(summary)
    return np.concatenate(parts), summary


def _score(scorer: RowScorer, rows: FloatArray, options: ScoreOptions) -> Scores | Flags:
    if options.flag_only:
        return scorer.flag_rows(rows, target_fpr=options.target_fpr)
    return scorer.score_rows(
        rows,
        num_samples=options.num_samples,
        max_std_error=options.max_std_error,
        target_fpr=options.target_fpr,
    )


def _check_keep(table: Table, keep: Sequence[str], output: str, columns: pa.Schema) -> None:
    for name in keep:
        if name in columns.names:
            raise ConfigError(f"--keep {name}: the output has a column of that name; rename the column in the input")
        if name not in table.names:
            raise InvalidInput(f"--keep {name}: the input has no such column", field=name)
        if table.names.count(name) > 1 or list(keep).count(name) > 1:
            raise InvalidInput(f"--keep {name}: the column appears more than once", field=name)
        kind = table.schema_of([name]).field(0).type
        if not output.lower().endswith(".parquet") and not fits_csv(kind):
            raise InvalidInput(f"--keep {name}: {kind} does not fit in CSV; write to a .parquet file", field=name)


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
