"""Write scored rows: every row in input order, the flagged ones, or the most anomalous ones. One way for all inputs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from anomaly_vae.arrow.buffers import from_numpy
from anomaly_vae.batch.explaining import RowExplainer, ToExplain
from anomaly_vae.batch.false_discovery import FalseDiscovery
from anomaly_vae.batch.selection import LowestRow, Part, Selection, order_keys
from anomaly_vae.batch.summary import ScoreSummary
from anomaly_vae.scores import Flags, Scores
from anomaly_vae.table import Fault, open_writer, refuse_output

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
        discovery: Decides which rows are flagged once all are scored; None if each row has its own decision.
    """

    path: str
    schema: pa.Schema
    selection: Selection
    thresholds: tuple[float, float | None]
    has_flags: bool
    overwrite: bool = False
    explainer: RowExplainer | None = None
    discovery: FalseDiscovery | None = None


def write_scores(
    batches: Iterable[ScoredBatch],
    output: OutputOf,
    on_batch: Callable[[ScoreSummary], None] | None = None,
    on_scores: Callable[[Scores | Flags], None] | None = None,
) -> ScoreSummary:
    """Write scored rows.

    The output is opened before the first batch is taken. Only if all rows decide together, it is opened after the last
    one; whether it can be written is still checked before.

    Args:
        batches: The rows, in input order.
        output: Where they are written.
        on_batch: Called after each batch with the counts so far.
        on_scores: Called with the scores of each batch.

    Raises:
        ConfigError: The output cannot be written.
    """
    explainer, schema = output.explainer, pa.schema([*output.selection.fields, *output.schema])
    summary = ScoreSummary(
        anomalies=0 if output.has_flags else None, written=0 if output.selection.is_partial else None
    )
    if explainer is not None:
        summary.explained, explainer.on_rows = 0, _counting(summary, on_batch)
    parts = _parts(batches, output, schema, summary, on_batch, on_scores)
    if output.discovery is None:
        _write(parts, output, schema, summary)
        return summary
    refuse_output(output.path, overwrite=output.overwrite)
    with output.discovery.decided(parts, output.path, schema, summary, on_batch) as decided:
        _write(decided, output, schema, summary)
    return summary


def _parts(
    batches: Iterable[ScoredBatch],
    output: OutputOf,
    schema: pa.Schema,
    summary: ScoreSummary,
    on_batch: Callable[[ScoreSummary], None] | None,
    on_scores: Callable[[Scores | Flags], None] | None,
) -> Iterator[Part]:
    """Yield scored rows as parts of the output; a batch is counted after its part was taken."""
    lowest = LowestRow()
    for batch in batches:
        if output.discovery is not None:
            output.discovery.check(batch.scores)
        flags = batch.scores.is_anomaly
        numbers = summary.rows + 1 + np.arange(len(batch.usable))
        keys = order_keys(batch.scores, batch.ranks_lowest, numbers[batch.usable], output.thresholds)
        columns = [*([from_numpy(numbers)] if output.selection.is_partial else []), *batch.columns]
        yield Part(pa.RecordBatch.from_arrays(columns, schema=schema), batch.usable, flags, keys, batch.explained)
        summary.note(batch)
        if summary.anomalies is not None and flags is not None:
            summary.anomalies += int(flags.sum())
        summary.most_anomalous_row = lowest.update(keys)
        if on_scores:
            on_scores(batch.scores)
        if on_batch:
            on_batch(summary)


def _write(parts: Iterable[Part], output: OutputOf, schema: pa.Schema, summary: ScoreSummary) -> None:
    """Write the chosen rows of parts with these columns."""
    explainer = output.explainer
    written = schema if explainer is None else pa.schema([*schema, *explainer.explaining.fields])
    with (
        open_writer(output.path, written, overwrite=output.overwrite) as writer,
        output.selection.writing(writer, summary, explainer) as chosen,
    ):
        for part in parts:
            chosen.write(part)


def _counting(summary: ScoreSummary, on_batch: Callable[[ScoreSummary], None] | None) -> Callable[[int], None]:
    """Return a callback that counts explained rows and shows the progress."""

    def count(num_rows: int) -> None:
        summary.explained = (summary.explained or 0) + num_rows
        if on_batch:
            on_batch(summary)

    return count
