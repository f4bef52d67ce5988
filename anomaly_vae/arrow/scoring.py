"""Score Arrow batches: the columns of a table in, one row of results for each of its rows out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from anomaly_vae.arrays import FloatArray
from anomaly_vae.arrow.faults import Fault
from anomaly_vae.arrow.results import CONTRAST, FLAG_SCHEMA, OUTPUT_SCHEMA, result_columns
from anomaly_vae.arrow.rows import read_rows
from anomaly_vae.columns.rows import match_columns
from anomaly_vae.columns.schema import Schema
from anomaly_vae.errors import ConfigError, InvalidInput
from anomaly_vae.record import Tail
from anomaly_vae.score_options import ScoreOptions, warn_uncalibrated
from anomaly_vae.scores import Flags, Scores, join

__all__ = ["ScoresRows", "arrow_schema", "results_of", "score_arrow", "score_by"]

# Rows of a table that become numbers at once: it bounds what texts take as Python objects. Chosen, not measured.
_ROWS_AT_ONCE = 65_536

# What to use for models whose rows are no rows of a table.
_INSTEAD = {
    "series": "windows of time series: use SeriesScorer for steps as they arrive, Scorer.score for arrays of windows, "
    "or anomaly-vae score for a table of steps",
    "image": "images: use Scorer.score for arrays of images, or anomaly-vae score for files and tables of images",
}


class ScoresRows(Protocol):
    """Scores checked rows; both :class:`anomaly_vae.scorer.Scorer` and the blocking client do."""

    @property
    def schema(self) -> Schema:
        """The model's columns."""
        ...

    @property
    def num_samples(self) -> int:
        """Most decoder evaluations per row in the calibration."""
        ...

    @property
    def has_contrast(self) -> bool:
        """Whether rows have a contrast beside the score."""
        ...

    def score_rows(
        self,
        rows: FloatArray,
        *,
        num_samples: int | None = None,
        max_std_error: float | None = None,
        target_fpr: float | None = None,
        tail: Tail | None = None,
    ) -> Scores:
        """Score checked rows (N, D)."""
        ...

    def flag_rows(self, rows: FloatArray, *, target_fpr: float | None = None, tail: Tail | None = None) -> Flags:
        """Flag checked rows (N, D)."""
        ...


def results_of(scorer: ScoresRows, options: ScoreOptions, schema: pa.Schema = OUTPUT_SCHEMA) -> pa.Schema:
    """Return the columns of results: those of flags, or the schema, with a contrast where the model has one."""
    if options.flag_only:
        return FLAG_SCHEMA
    return schema.append(CONTRAST) if scorer.has_contrast else schema


def score_by(scorer: ScoresRows, rows: FloatArray, options: ScoreOptions) -> Scores | Flags:
    """Score or flag checked rows (N, D), as the options say."""
    if options.flag_only:
        return scorer.flag_rows(rows, target_fpr=options.target_fpr, tail=options.tail)
    return scorer.score_rows(
        rows,
        num_samples=options.num_samples,
        max_std_error=options.max_std_error,
        target_fpr=options.target_fpr,
        tail=options.tail,
    )


def arrow_schema(scorer: ScoresRows, options: ScoreOptions) -> pa.Schema:
    """Return the columns of :func:`score_arrow`, without those to keep.

    Raises:
        ConfigError: The model is one of series or images.
    """
    if scorer.schema.kind != "table":
        raise ConfigError(f"score_arrow is for rows of tables; this model is one of {_INSTEAD[scorer.schema.kind]}")
    return results_of(scorer, options)


def score_arrow(scorer: ScoresRows, batch: Any, options: ScoreOptions, keep: Sequence[str] = ()) -> Any:
    """Score every row of a record batch or table; see :meth:`anomaly_vae.arrow.methods.ScoresArrow.score_arrow`."""
    if not isinstance(batch, (pa.RecordBatch, pa.Table)):
        raise InvalidInput(
            f"score_arrow takes a pyarrow.RecordBatch or pyarrow.Table, got {type(batch).__name__}; convert it, for "
            "example by its method to_arrow(), or use score"
        )
    results, schema = arrow_schema(scorer, options), scorer.schema
    match_columns(tuple(batch.schema.names), schema.names)
    kept = _kept(batch.schema, keep, results)
    _refuse_extensions(batch.schema, schema.names)
    parts, faults = list[Scores | Flags](), list[Fault | None]()
    for columns in _parts(batch.select(list(schema.names))):
        rows, found = read_rows(schema.reader(), columns)
        usable = np.array([fault is None for fault in found], dtype=bool)
        parts.append(score_by(scorer, schema.expand(rows[usable]), options))
        faults += found
    warn_uncalibrated(options, scorer.num_samples)
    usable = np.array([fault is None for fault in faults], dtype=bool)
    columns = [*(batch.column(name) for name in keep), *result_columns(results, join(parts), usable, faults)]
    return type(batch).from_arrays(columns, schema=pa.schema([*kept, *results]))


def _kept(schema: pa.Schema, keep: Sequence[str], results: pa.Schema) -> list[pa.Field]:
    """Return the fields of the columns to keep.

    Raises:
        InvalidInput: There is no such column, or it appears more than once.
        ConfigError: ``keep`` is one text, or names a column of the results.
    """
    if isinstance(keep, str):
        raise ConfigError(f"keep must be a list of names, got the text {keep!r}; write [{keep!r}]")
    for name in keep:
        if name in results.names:
            raise ConfigError(f"keep names {name!r}, which is also a column of the results; rename it in the batch")
        if (count := schema.names.count(name)) != 1:
            raise InvalidInput(f"keep names {name!r}, of which the batch has {count} columns", field=name)
        if list(keep).count(name) > 1:
            raise ConfigError(f"keep names {name!r} more than once")
    return [schema.field(name) for name in keep]


def _refuse_extensions(schema: pa.Schema, names: Sequence[str]) -> None:
    """Raise InvalidInput for a column of an extension type: its plain values may mean something else."""
    for name in names:
        if isinstance(kind := schema.field(name).type, pa.BaseExtensionType):
            raise InvalidInput(
                f"column {name!r} is of the extension type {kind}; cast it to the type that the training table had, "
                f"such as its storage type {kind.storage_type}",
                field=name,
            )


def _parts(batch: pa.RecordBatch | pa.Table) -> Iterator[pa.RecordBatch]:
    """Yield the rows, at least one part, each with its columns in one piece.

    Raises:
        InvalidInput: The batch is damaged. What comes from another process could point outside of its buffers.
    """
    table = batch if isinstance(batch, pa.Table) else pa.Table.from_batches([batch])
    for start in range(0, max(table.num_rows, 1), _ROWS_AT_ONCE):
        part = table.slice(start, _ROWS_AT_ONCE)
        for name in part.column_names:
            try:
                part.column(name).validate(full=True)
            except pa.ArrowException as error:
                line = str(error).partition("\n")[0]
                raise InvalidInput(f"column {name!r} is damaged: {line}", field=name) from error
        columns = [column.combine_chunks() for column in part.columns]
        yield pa.RecordBatch.from_arrays(columns, names=part.column_names)
