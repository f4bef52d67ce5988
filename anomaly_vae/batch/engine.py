"""What scores the rows of a table, in their order: this process, or an engine that has more of them."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import pyarrow as pa

from anomaly_vae.arrow.buffers import from_numpy
from anomaly_vae.arrow.results import result_columns
from anomaly_vae.arrow.scoring import ScoresRows, score_by
from anomaly_vae.batch.ahead import reading_ahead
from anomaly_vae.batch.blocks import BlockSize, blocks
from anomaly_vae.batch.explaining import Explaining, ToExplain
from anomaly_vae.batch.scored import ScoredBatch
from anomaly_vae.batch.stages import Stages
from anomaly_vae.score_options import ScoreOptions
from anomaly_vae.table import Batch, Table

__all__ = ["Engine", "Job", "score_locally"]

# Blocks that wait to be scored, and scored ones that wait to be written. Each stage is busy with one more. Chosen, not
# measured: one would do if all blocks took the same time.
_BLOCKS_AHEAD, _SCORED_AHEAD = 1, 1


class Job(NamedTuple):
    """Scores batches of rows.

    Attributes:
        scorer: Scores the rows.
        options: What is computed.
        results: The columns of results.
        keep: Input columns to copy to the output.
        texts: Columns of text, whose cells explanations show.
        explaining: Which rows are explained, if any.
        size: How many rows are scored at once.
        stages: Takes the seconds of reading and of scoring.
        collects: Whether a report needs the rows.
    """

    scorer: ScoresRows
    options: ScoreOptions
    results: pa.Schema
    keep: Sequence[str]
    texts: Sequence[str]
    explaining: Explaining | None
    size: BlockSize
    stages: Stages | None = None
    collects: bool = False

    @property
    def needed(self) -> list[str]:
        """The input columns that batches keep."""
        return list(dict.fromkeys([*self.keep, *self.texts]))

    def scored(self, batch: Batch) -> ScoredBatch:
        """Score a batch that has the columns :attr:`needed`."""
        usable = np.array([fault is None for fault in batch.faults], dtype=bool)
        rows, start = self.scorer.schema.expand(batch.rows[usable]), time.monotonic()
        scores = score_by(self.scorer, rows, self.options)
        self.size.note(len(usable), time.monotonic() - start)
        results = result_columns(self.results, scores, usable, batch.faults)
        columns = [*batch.kept.select(list(self.keep)).columns, *results]
        lowest, explained = self.scorer.schema.ranks_lowest(rows), None
        if self.explaining is not None:
            wanted = self.explaining.wanted(scores)
            places = from_numpy(np.flatnonzero(usable)[wanted])
            explained = ToExplain(wanted, rows[wanted], batch.kept.select(list(self.texts)).take(places))
        shown = rows if self.collects else None
        return ScoredBatch(columns, batch.faults, usable, scores, lowest, explained, batch.fragment, shown)


class Engine(Protocol):
    """Reads and scores the rows of a table."""

    def __call__(
        self, job: Job, table: Table, start: tuple[int, int]
    ) -> contextlib.AbstractContextManager[Iterator[ScoredBatch]]:
        """Yield the scored rows in input order, from a file and its row on, both from 0.

        Raises:
            InvalidInput: The table does not fit the model, or a file cannot be read and is not to be left out.
        """
        ...


@contextlib.contextmanager
def score_locally(job: Job, table: Table, start: tuple[int, int]) -> Iterator[Iterator[ScoredBatch]]:
    """Score the rows in this process: one thread reads, another one scores. See :class:`Engine`."""
    # The call itself refuses a table of other columns, before the output opens.
    batches = table.batches(job.scorer.schema.reader(), job.needed, start)
    stages = job.stages or Stages()
    with (
        reading_ahead(stages.taking("read", blocks(batches, job.size)), _BLOCKS_AHEAD) as read,
        reading_ahead(map(stages.calling("score", job.scored), read), _SCORED_AHEAD) as scored,
    ):
        yield scored
