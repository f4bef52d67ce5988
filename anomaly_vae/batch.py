"""Batch scoring: read a table, score it, write it, in bounded memory and input order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from anomaly_vae.config import check_error
from anomaly_vae.densities import FloatArray
from anomaly_vae.errors import ConfigError, InvalidInput
from anomaly_vae.rows import match_columns
from anomaly_vae.schema import Schema
from anomaly_vae.scores import Flags, Scores, warn_uncalibrated
from anomaly_vae.table import Batch, CodeBook, Table, fits_csv, open_writer
from anomaly_vae.table.arrays import from_numpy, from_strings, spread

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

# Synthetic rows made at a time, and how far their seeds are apart.
_SAMPLED_TOGETHER, _NEXT_SEED = 16_384, 1_000_003

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
    """What scores rows here: a :class:`anomaly_vae.scorer.Scorer`, or a client of a service that has one."""

    @property
    def schema(self) -> Schema:
        """The columns."""
        ...

    @property
    def num_samples(self) -> int:
        """The calibrated budget."""
        ...

    def score_rows(
        self,
        rows: FloatArray,
        num_samples: int | None = None,
        target_fpr: float | None = None,
        max_std_error: float | None = None,
    ) -> Scores:
        """Score checked rows (N, D)."""
        ...

    def flag_rows(self, rows: FloatArray, target_fpr: float | None = None) -> Flags:
        """Decide on checked rows (N, D)."""
        ...


@dataclass
class ScoreSummary:
    """What a batch run did.

    Attributes:
        rows: Rows read and written.
        anomalies: Rows flagged; None where the budget is not the calibrated one, so that there are no flags.
        unscored: Rows without a score, counted by kind of fault.
        examples: One example of each kind: row number (from 1) and text.
    """

    rows: int = 0
    anomalies: int | None = None
    unscored: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)

    def note(self, batch: Batch) -> None:
        """Count the rows and faults of a batch."""
        for i, fault in enumerate(batch.faults):
            if fault is not None:
                self.unscored[fault.kind] += 1
                self.examples.setdefault(fault.kind, f"row {self.rows + i + 1}: {fault.text}")
        self.rows += len(batch.faults)

    def describe(self) -> str:
        """One line for the user."""
        text = f"{self.rows:,} rows" + ("" if self.anomalies is None else f", {self.anomalies:,} flagged")
        if self.unscored:
            kinds = ", ".join(f"{count:,} {kind}" for kind, count in sorted(self.unscored.items()))
            example = min(self.examples.values(), key=len)
            text += f", {self.unscored.total():,} not scored ({kinds}; for example {example})"
        return text


@dataclass(frozen=True, kw_only=True)
class ScoreOptions:
    """What to compute of each row: see :meth:`anomaly_vae.scorer.Scorer.score` and ``flag``."""

    num_samples: int | None = None
    max_std_error: float | None = None
    target_fpr: float | None = None
    flag_only: bool = False

    def __post_init__(self) -> None:
        """Refuse options that exclude each other."""
        if self.flag_only and (self.num_samples is not None or self.max_std_error is not None):
            raise ConfigError("--flag-only decides at the calibrated budget; leave out --num-samples, --max-std-error")
        if self.max_std_error is not None and self.target_fpr is not None:
            raise ConfigError("--max-std-error gives no flags; leave out --target-fpr")
        check_error(self.max_std_error)

    @property
    def columns(self) -> pa.Schema:
        """The output's columns, without the kept ones."""
        return FLAG_SCHEMA if self.flag_only else OUTPUT_SCHEMA

    def apply(self, scorer: RowScorer, rows: FloatArray) -> Scores | Flags:
        """Score or decide on checked rows (N, D)."""
        if self.flag_only:
            return scorer.flag_rows(rows, self.target_fpr)
        return scorer.score_rows(rows, self.num_samples, self.target_fpr, self.max_std_error)


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
    """Score a table into a file; rows that cannot be scored come out with nulls and a reason.

    Raises:
        InvalidInput: A column of the model or a kept one is missing, or of the wrong type.
        ConfigError: A kept name clashes with an output, or the output cannot be written.
    """
    options = options or ScoreOptions()
    match_columns(table.names, scorer.schema.names)
    _check_keep(table, keep, output, options.columns)
    schema = pa.schema([*table.schema_of(keep), *options.columns])
    # Refuse a budget or a target that cannot be before anything is read or said.
    options.apply(scorer, np.empty((0, len(scorer.schema.names))))
    warn_uncalibrated(options.num_samples, scorer.num_samples, options.max_std_error)
    summary = ScoreSummary()
    with open_writer(output, schema, overwrite=overwrite) as writer:
        for batch in table.batches(scorer.schema.names, keep, CodeBook(scorer.schema.categories)):
            usable = np.array([fault is None for fault in batch.faults], dtype=bool)
            scores = options.apply(scorer, batch.rows[usable])
            columns = [*batch.kept.columns, *_columns(scores, options.columns, usable, batch)]
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
    """Write the means of q(z|x) of a table's rows; rows that cannot be read come out with nulls.

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
            columns = [*batch.kept.columns, *(spread(means[:, i], usable) for i in range(width))]
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
    """Write synthetic rows, texts for categories; blocks of them have seeds of their own."""
    fields = [
        (column.name, pa.string() if column.categories is not None else pa.float64())
        for column in scorer.schema.columns
    ]
    schema = pa.schema(fields)
    with open_writer(output, schema, overwrite=overwrite) as writer:
        for i, start in enumerate(range(0, num_rows, _SAMPLED_TOGETHER)):
            rows = scorer.sample(min(_SAMPLED_TOGETHER, num_rows - start), (seed + i * _NEXT_SEED) % 2**32)
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
    """Read into memory all rows that can be used, shape (N, D), and count the others."""
    summary, parts = ScoreSummary(), [np.empty((0, len(columns)))]
    for batch in table.batches(columns, book=book):
        usable = np.array([fault is None for fault in batch.faults], dtype=bool)
        parts.append(batch.rows[usable])
        summary.note(batch)
        if on_batch:
            on_batch(summary)
    return np.concatenate(parts), summary


def _check_keep(table: Table, keep: Sequence[str], output: str, columns: pa.Schema) -> None:
    for name in keep:
        if name in columns.names:
            raise ConfigError(f"--keep {name}: the output has a column of that name itself; rename it in the input")
        if name not in table.names:
            raise InvalidInput(f"--keep {name}: the input has no such column", field=name)
        if table.names.count(name) > 1 or list(keep).count(name) > 1:
            raise InvalidInput(f"--keep {name}: the column stands more than once", field=name)
        kind = table.schema_of([name]).field(0).type
        if not output.lower().endswith(".parquet") and not fits_csv(kind):
            raise InvalidInput(f"--keep {name}: {kind} does not fit in CSV; write to a .parquet file", field=name)


def _columns(scores: Scores | Flags, schema: pa.Schema, usable: NDArray[np.bool_], batch: Batch) -> list[pa.Array]:
    """The output columns of a batch: nulls where there is no value, reasons of faults and novelties."""
    reason = iter(scores.reason)
    reasons = [next(reason) if fault is None else fault.text for fault in batch.faults]
    columns = []
    for column in schema:
        values = getattr(scores, column.name)
        if column.name == "reason":
            columns.append(from_strings(reasons))
        else:
            columns.append(pa.nulls(len(usable), column.type) if values is None else spread(values, usable))
    return columns
