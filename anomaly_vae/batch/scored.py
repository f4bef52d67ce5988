"""Write scored rows: every row in input order, the flagged ones, or the most anomalous ones. One way for all inputs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from anomaly_vae.arrays import FloatArray
from anomaly_vae.arrow.buffers import from_numpy
from anomaly_vae.batch.collected import Collector
from anomaly_vae.batch.explaining import RowExplainer, ToExplain
from anomaly_vae.batch.false_discovery import FalseDiscovery
from anomaly_vae.batch.selection import LowestRow, Part, Selection, order_keys
from anomaly_vae.batch.summary import ScoreSummary
from anomaly_vae.scores import Flags, Scores
from anomaly_vae.table import Fault, open_writer, refuse_output

__all__ = ["OutputOf", "ScoredBatch", "Tally", "noted", "write_scores"]


class ScoredBatch(NamedTuple):
    """Some consecutive rows of the input.

    Attributes:
        columns: The columns of the output, without the number of the row.
        faults: One entry per row: why it has no score, or None.
        usable: Which rows have a score, shape (N,).
        scores: The scores of these rows.
        ranks_lowest: Which of these rows rank below all others.
        explained: Which of these rows are explained; None if none is.
        fragment: Number of the file that the rows are of.
        inputs: The model's columns of the rows that have a score, shape (n, D); None if a report does not need them.
    """

    columns: list[pa.Array]
    faults: Sequence[Fault | None]
    usable: NDArray[np.bool_]
    scores: Scores | Flags
    ranks_lowest: NDArray[np.bool_]
    explained: ToExplain | None = None
    fragment: int = 0
    inputs: FloatArray | None = None


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

    def written(self, schema: pa.Schema) -> pa.Schema:
        """Return the columns that are written, with those of explanations, of parts with these columns."""
        return schema if self.explainer is None else pa.schema([*schema, *self.explainer.explaining.fields])


def write_scores(
    batches: Iterable[ScoredBatch],
    output: OutputOf,
    on_batch: Callable[[ScoreSummary], None] | None = None,
    on_scores: Callable[[Scores | Flags], None] | None = None,
    collector: Collector | None = None,
) -> ScoreSummary:
    """Write scored rows.

    The output is opened before the first batch is taken. Only if all rows decide together, it is opened after the last
    one; whether it can be written is still checked before.

    Args:
        batches: The rows, in input order.
        output: Where they are written.
        on_batch: Called after each batch with the counts so far.
        on_scores: Called with the scores of each batch.
        collector: Collects what a report shows.

    Raises:
        ConfigError: The output cannot be written.
    """
    tally = Tally(output)
    if output.explainer is not None:
        output.explainer.on_rows = tally.counting(on_batch)
    if collector is not None:
        collector.begin(output.schema, output.thresholds, decides_later=output.discovery is not None)
    summary, parts = tally.summary, _parts(batches, tally, on_batch, on_scores, collector)
    if output.discovery is None:
        _write(parts, output, tally.schema, summary)
        return summary
    refuse_output(output.path, overwrite=output.overwrite)
    with output.discovery.decided(parts, output.path, tally.schema, summary, on_batch) as decided:
        _write(decided if collector is None else noted(decided, collector), output, tally.schema, summary)
    return summary


class Tally:
    """Makes parts of the output of scored batches, and counts them.

    Attributes:
        schema: The columns of parts.
        summary: The counts.
        lowest: The most anomalous row.
    """

    def __init__(self, output: OutputOf) -> None:
        """Start with nothing counted."""
        self._output, self.lowest = output, LowestRow()
        self.schema = pa.schema([*output.selection.fields, *output.schema])
        self.summary = ScoreSummary(
            anomalies=0 if output.has_flags else None,
            written=0 if output.selection.is_partial else None,
            explained=None if output.explainer is None else 0,
        )

    def part(self, batch: ScoredBatch, first_row: int | None = None) -> Part:
        """Return the part of the output of the next batch; its rows are numbered from ``first_row``, from 0.

        Without it they have their number in the input.
        """
        if self._output.discovery is not None:
            self._output.discovery.check(batch.scores)
        numbers = self.summary.rows + 1 + np.arange(len(batch.usable))
        shown = numbers if first_row is None else first_row + 1 + np.arange(len(batch.usable))
        keys = order_keys(batch.scores, batch.ranks_lowest, numbers[batch.usable], self._output.thresholds)
        columns = [*([from_numpy(shown)] if self._output.selection.is_partial else []), *batch.columns]
        records = pa.RecordBatch.from_arrays(columns, schema=self.schema)
        return Part(records, batch.usable, batch.scores.is_anomaly, keys, batch.explained)

    def count(self, batch: ScoredBatch, part: Part) -> None:
        """Count a batch after its part was taken."""
        self.summary.note(batch)
        if self.summary.anomalies is not None and part.flags is not None:
            self.summary.anomalies += int(part.flags.sum())
        self.summary.most_anomalous_row = self.lowest.update(part.keys)

    def counting(self, on_batch: Callable[[ScoreSummary], None] | None) -> Callable[[int], None]:
        """Return a callback that counts explained rows and shows the progress."""

        def count(num_rows: int) -> None:
            self.summary.explained = (self.summary.explained or 0) + num_rows
            if on_batch:
                on_batch(self.summary)

        return count


def _parts(
    batches: Iterable[ScoredBatch],
    tally: Tally,
    on_batch: Callable[[ScoreSummary], None] | None,
    on_scores: Callable[[Scores | Flags], None] | None,
    collector: Collector | None,
) -> Iterator[Part]:
    """Yield scored rows as parts of the output; a batch is counted after its part was taken."""
    for batch in batches:
        part = tally.part(batch)
        yield part
        if collector is not None:
            collector.add(batch, tally.summary.rows + 1)
        tally.count(batch, part)
        if on_scores:
            on_scores(batch.scores)
        if on_batch:
            on_batch(tally.summary)


def noted(parts: Iterable[Part], collector: Collector) -> Iterator[Part]:
    """Yield parts whose flags are decided, and let a report know the flags."""
    first_row = 1
    for part in parts:
        if part.flags is not None:
            collector.decided(part.flags, part.usable, first_row)
        first_row += len(part.usable)
        yield part


def _write(parts: Iterable[Part], output: OutputOf, schema: pa.Schema, summary: ScoreSummary) -> None:
    """Write the chosen rows of parts with these columns."""
    with (
        open_writer(output.path, output.written(schema), overwrite=output.overwrite) as writer,
        output.selection.writing(writer, summary, output.explainer) as chosen,
    ):
        for part in parts:
            chosen.write(part)
