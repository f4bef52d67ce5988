"""Write scored rows by way of a journal, so that a job that is stopped can go on and gives the same bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import pyarrow as pa

from anomaly_vae.batch.collected import Collector
from anomaly_vae.batch.journal import Journal
from anomaly_vae.batch.keyed import with_keys, without_keys
from anomaly_vae.batch.scored import OutputOf, ScoredBatch, Tally
from anomaly_vae.batch.selection import LowestRow, Part
from anomaly_vae.batch.stages import Stages
from anomaly_vae.batch.summary import ScoreSummary
from anomaly_vae.batch.targets import Target
from anomaly_vae.errors import ConfigError
from anomaly_vae.scores import Flags, Scores
from anomaly_vae.table import Table

__all__ = ["JournaledJob"]

OnBatch = Callable[[ScoreSummary], None] | None
OnScores = Callable[[Scores | Flags], None] | None

_NOT_COLLECTED = (
    "--report shows all rows, and the unfinished job was started without it; leave out --report, or score again "
    "without --resume"
)


class JournaledJob:
    """A job over the files of a table; see :func:`~anomaly_vae.batch.scored.write_scores` for what is written.

    A file of the input that the table leaves out, at its beginning or in its middle, has no rows in the output.

    Attributes:
        start: The file and its row, both from 0, that come next.
        is_published: Whether the output had its name already when an earlier job was stopped.
    """

    def __init__(
        self,
        output: OutputOf,
        target: Target,
        table: Table,
        journal: Journal,
        stages: Stages | None = None,
        collector: Collector | None = None,
    ) -> None:
        """Begin, or go on from what the journal has kept.

        Args:
            output: What is written.
            target: Where it is written.
            table: The input.
            journal: Keeps what is done.
            stages: Takes the seconds of writing, and has those of the other stages.
            collector: Collects what a report shows.

        Raises:
            ConfigError: There is an output already, and it may not be replaced; or the rows that are done were not
                collected.
        """
        self._stages, self._collector = stages or Stages(), collector
        self._decided_rows = 0
        if collector is not None:
            collector.begin(output.schema, output.thresholds, decides_later=output.discovery is not None)
        self._output, self._target, self._table, self._journal = output, target, table, journal
        self._tally = Tally(output)
        self.start, self._before = (0, 0), dict[str, Any]()
        self._inode: int | None = None
        if journal.state is None:
            self._before = self._counts()
        else:
            self._restore(journal.state)
        self.is_published = self._inode is not None and target.published() == self._inode
        if not self.is_published:
            target.refuse()
        elif output.discovery is not None:
            output.discovery.decide(journal.batches(), self.summary)

    @property
    def summary(self) -> ScoreSummary:
        """The counts so far."""
        return self._tally.summary

    def run(self, batches: Iterable[ScoredBatch], on_batch: OnBatch, on_scores: OnScores) -> None:
        """Take the scored rows from :attr:`start` on, and complete the output."""
        if self._output.explainer is not None:
            self._output.explainer.on_rows = self._tally.counting(on_batch)
        with self._output.selection.writing(_Kept(self), self.summary, self._output.explainer):
            for batch in batches:
                self._close_fragments(batch.fragment)
                with self._stages.timing("write"):
                    self._take(batch)
                if on_scores:
                    on_scores(batch.scores)
                if on_batch:
                    on_batch(self.summary)
                if self._journal.is_due:
                    self._journal.commit(self._state())
            self._close_fragments(len(self._table.fragments))
        with self._stages.timing("write"):
            self._finish(on_batch)
        self.summary.stages = dict(self._stages.seconds)

    def keep(self, records: pa.RecordBatch) -> None:
        """Take records of the output."""
        self._journal.write(records, self.start[0])

    def _take(self, batch: ScoredBatch) -> None:
        fragment, row = self.start
        part = self._tally.part(batch, row if self._target.by_fragment else None)
        selection, discovery = self._output.selection, self._output.discovery
        if discovery is not None:
            self.keep(discovery.held(part))
        elif selection.is_ordered:
            self.keep(with_keys(selection.chosen(part)))
        else:
            selection.write(part)
        if self._collector is not None:
            self._collector.add(batch, self.summary.rows + 1)
        self._tally.count(batch, part)
        self.start = (fragment, row + len(batch.usable))

    def _close_fragments(self, until: int) -> None:
        """Complete the files before this one."""
        while self.start[0] < until:
            fragment = self.start[0]
            if fragment in self._table.skipped:
                self._leave_out(fragment)
            elif self._writes_each:
                self._write_fragment(fragment, self._journal.batches(fragment))
                self._journal.drop(fragment)
            self.start, self._before = (fragment + 1, 0), self._counts()

    def _leave_out(self, fragment: int) -> None:
        """Take back what was counted and kept of a file that cannot be read to its end."""
        self._journal.drop(fragment)
        self._restore_counts(self._before)
        self.summary.skipped[self._table.fragments[fragment].name] = self._table.skipped[fragment]

    @property
    def _writes_each(self) -> bool:
        """Whether a file of the output can be written when its rows are scored."""
        return self._target.by_fragment and self._output.discovery is None

    def _write_fragment(self, fragment: int, batches: Iterable[pa.RecordBatch]) -> None:
        folder = self._journal.folder
        with self._target.writer(folder, fragment, self._written_schema) as writer:
            for records in batches:
                writer.write(records)
        self._journal.will_sync(self._target.written(folder, fragment))

    def _finish(self, on_batch: OnBatch) -> None:
        folder, discovery = self._journal.folder, self._output.discovery
        if discovery is not None:
            discovery.decide(self._journal.batches(), self.summary)
        if self._target.by_fragment and discovery is not None:
            for fragment, file in enumerate(self._table.fragments):
                if file.name not in self.summary.skipped:
                    self._write_chosen(fragment, self._parts(on_batch, fragment))
        elif not self._target.by_fragment:
            self._write_chosen(0, self._parts(on_batch))
        if self._journal.has_commits:
            self._inode = self._target.part(folder).stat().st_ino if self._target.part(folder).exists() else None
            self._journal.commit(self._state())
        self._target.publish(folder, self.summary.facts())

    def _parts(self, on_batch: OnBatch, fragment: int | None = None) -> Iterator[Part | pa.RecordBatch]:
        """Yield what was kept: parts from which rows are still to be chosen, or records of the output."""
        for records in self._journal.batches(fragment):
            if self._output.discovery is not None:
                yield self._decided(self._output.discovery.flagged(records, self.summary, on_batch))
            else:
                yield without_keys(records) if self._output.selection.is_ordered else records

    def _decided(self, part: Part) -> Part:
        """Let a report know flags that were decided."""
        if self._collector is not None and part.flags is not None:
            self._collector.decided(part.flags, part.usable, self._decided_rows + 1)
        self._decided_rows += len(part.usable)
        return part

    def _write_chosen(self, fragment: int, parts: Iterable[Part | pa.RecordBatch]) -> None:
        with (
            self._target.writer(self._journal.folder, fragment, self._written_schema) as writer,
            self._output.selection.writing(writer, self.summary) as chosen,
        ):
            for part in parts:
                if isinstance(part, pa.RecordBatch):
                    writer.write(part)
                else:
                    chosen.write(part)

    @property
    def _written_schema(self) -> pa.Schema:
        return self._output.written(self._tally.schema)

    def _state(self) -> dict[str, Any]:
        return {
            "start": self.start,
            "counts": self._counts(),
            "before": self._before,
            "skipped": self.summary.skipped,
            "inode": self._inode,
            "stages": self._stages.seconds,
        }

    def _restore(self, state: Mapping[str, Any]) -> None:
        self.start, self._before, self._inode = tuple(state["start"]), state["before"], state["inode"]
        self._tally.summary.skipped = dict(state["skipped"])
        self._restore_counts(state["counts"])
        self._stages.seconds.update(state["stages"])
        self.summary.resumed = self.summary.rows

    def _counts(self) -> dict[str, Any]:
        return {
            "summary": self.summary.state(),
            "lowest": self._tally.lowest.keys,
            "collected": None if self._collector is None else self._collector.state(),
        }

    def _restore_counts(self, counts: Mapping[str, Any]) -> None:
        self.summary.take_state(counts["summary"])
        self._tally.lowest = LowestRow(counts["lowest"])
        if self._collector is not None:
            if counts["collected"] is None:
                raise ConfigError(_NOT_COLLECTED)
            self._collector.restore(counts["collected"])


class _Kept:
    """The writer of rows that are chosen while they are scored."""

    def __init__(self, job: JournaledJob) -> None:
        self._job = job

    def write(self, batch: pa.RecordBatch) -> None:
        self._job.keep(batch)
