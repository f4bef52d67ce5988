"""Write scored rows: every row in input order, the flagged ones, or the most anomalous ones. One way for all inputs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from anomaly_vae.arrow.buffers import from_numpy
from anomaly_vae.batch.explaining import RowExplainer, ToExplain
from anomaly_vae.batch.selection import LowestRow, Selection, order_keys
from anomaly_vae.batch.summary import ScoreSummary
from anomaly_vae.scores import Flags, Scores
from anomaly_vae.table import Fault, open_writer

__all__ = ["OutputOf", "ScoredBatch", "write_scores"]


class ScoredBatch(NamedTuple):
    """Some consecutive rows of the input.

    Attributes:
        columns: The columns of the output, without the number of the row.
        faults: One entry per row: why it has no score, or None.
        usable: Which rows have a score, shape (N,).
        scores: The scores of these rows.
        ranks_lowest: Which of these rows rank below all others.
        explained: Which of these rows are explained; None if none is.
    """

    columns: list[pa.Array]
    faults: Sequence[Fault | None]
    usable: NDArray[np.bool_]
    scores: Scores | Flags
    ranks_lowest: NDArray[np.bool_]
    explained: ToExplain | None = None


class OutputOf(NamedTuple):
    """Where scores are written.

    Attributes:
        path: The file, or "-" for standard output.
        schema: The columns of a :class:`ScoredBatch`.
        selection: Which rows are written.
        thresholds: The threshold and the upper one, or None, nats.
        has_flags: Whether the scores have flags.
        overwrite: Whether an existing file is replaced.
        explainer: Explains the rows that are written; its columns are the last ones. None for no explanations.
    """

    path: str
    schema: pa.Schema
    selection: Selection
    thresholds: tuple[float, float | None]
    has_flags: bool
    overwrite: bool = False
    explainer: RowExplainer | None = None


def write_scores(
    batches: Iterable[ScoredBatch],
    output: OutputOf,
    on_batch: Callable[[ScoreSummary], None] | None = None,
    on_scores: Callable[[Scores | Flags], None] | None = None,
) -> ScoreSummary:
    """Write scored rows; the output is opened before the first batch is taken.

    Args:
        batches: The rows, in input order.
        output: Where they are written.
        on_batch: Called after each batch with the counts so far.
        on_scores: Called with the scores of each batch.

    Raises:
        ConfigError: The output cannot be written.
    """
    selection, lowest, explainer = output.selection, LowestRow(), output.explainer
    schema = pa.schema([*selection.fields, *output.schema])
    summary = ScoreSummary(anomalies=0 if output.has_flags else None, written=0 if selection.is_partial else None)
    written = schema
    if explainer is not None:
        written, summary.explained = pa.schema([*schema, *explainer.explaining.fields]), 0
        explainer.on_rows = _counting(summary, on_batch)
    with (
        open_writer(output.path, written, overwrite=output.overwrite) as writer,
        selection.writing(writer, summary, explainer) as chosen,
    ):
        for batch in batches:
            numbers = summary.rows + 1 + np.arange(len(batch.usable))
            keys = order_keys(batch.scores, batch.ranks_lowest, numbers[batch.usable], output.thresholds)
            columns = [*([from_numpy(numbers)] if selection.is_partial else []), *batch.columns]
            chosen.write(
                pa.RecordBatch.from_arrays(columns, schema=schema), batch.usable, batch.scores, keys, batch.explained
            )
            summary.note(batch)
            if summary.anomalies is not None and batch.scores.is_anomaly is not None:
                summary.anomalies += int(batch.scores.is_anomaly.sum())
            summary.most_anomalous_row = lowest.update(keys)
            if on_scores:
                on_scores(batch.scores)
            if on_batch:
                on_batch(summary)
    return summary


def _counting(summary: ScoreSummary, on_batch: Callable[[ScoreSummary], None] | None) -> Callable[[int], None]:
    """Return a callback that counts explained rows and shows the progress."""

    def count(num_rows: int) -> None:
        summary.explained = (summary.explained or 0) + num_rows
        if on_batch:
            on_batch(summary)

    return count
