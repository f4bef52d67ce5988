"""Score the rows of a table and write them, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import pyarrow as pa

from anomaly_vae.arrays import FloatArray
from anomaly_vae.arrow.results import OUTPUT_SCHEMA
from anomaly_vae.arrow.scoring import ScoresRows, results_of, score_by
from anomaly_vae.batch.blocks import BlockSize, most_rows
from anomaly_vae.batch.collected import Collector
from anomaly_vae.batch.engine import Engine, Job, score_locally
from anomaly_vae.batch.explaining import Explaining, RowExplainer, text_inputs
from anomaly_vae.batch.false_discovery import FalseDiscovery, refuse_with_fdr
from anomaly_vae.batch.journal import open_journal
from anomaly_vae.batch.journaled import JournaledJob
from anomaly_vae.batch.kept import check_keep
from anomaly_vae.batch.resuming import identity_of, is_complete, reducing, refuse_to_keep, target_of
from anomaly_vae.batch.scored import OutputOf, write_scores
from anomaly_vae.batch.selection import Selection
from anomaly_vae.batch.stages import Stages
from anomaly_vae.batch.summary import ScoreSummary
from anomaly_vae.calibration import PValueGrid
from anomaly_vae.columns.rows import match_columns
from anomaly_vae.errors import ConfigError
from anomaly_vae.explained import Why
from anomaly_vae.record import Tail
from anomaly_vae.score_options import ScoreOptions, warn_uncalibrated
from anomaly_vae.scores import Flags, Scores
from anomaly_vae.table import Table, refuse_output

__all__ = ["RowScorer", "prepared", "score_table"]


class RowScorer(ScoresRows, Protocol):
    """Scores rows for :func:`score_table`; both :class:`anomaly_vae.scorer.Scorer` and the blocking client do."""

    def explain_rows(
        self, rows: FloatArray, *, top: int = 3, on_rows: Callable[[int], None] | None = None
    ) -> list[list[Why]]:
        """Say why checked rows (N, D) are anomalies."""
        ...

    def thresholds(self, *, target_fpr: float | None = None, tail: Tail | None = None) -> tuple[float, float | None]:
        """Return the threshold and the upper one, or None, nats."""
        ...

    def p_value_grid(self, *, tail: Tail | None = None) -> PValueGrid:
        """Return the values that p-values can have."""
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
    explaining: Explaining | None = None,
    fdr: float | None = None,
    overwrite: bool = False,
    resume: bool = False,
    memory: int | None = None,
    engine: Engine = score_locally,
    on_batch: Callable[[ScoreSummary], None] | None = None,
    on_scores: Callable[[Scores | Flags], None] | None = None,
    collector: Collector | None = None,
) -> ScoreSummary:
    """Score the rows of a table and write them to a file, in input order.

    Reading, scoring and writing overlap. What is done is kept in a hidden folder beside the output until that is
    complete, and ``resume`` goes on with it; the output is the same, byte for byte. That needs an input that can be
    read again and an output with a name, so it is not so for pipes, nor for ``top`` together with ``explaining``.

    Rows that cannot be scored are written with nulls and a reason. With ``only_flagged`` or ``top`` they are only
    counted, and the output starts with the column ``row``: the number of the input row, from 1.

    Args:
        scorer: Scores the rows.
        table: The input.
        output: Path of the file to write (.csv or .parquet), or "-" for standard output. If it ends in "/", or the
            input has several files and it has no ending, a folder with a Parquet file for each file of the input;
            ``row`` then counts the rows of that file.
        keep: Input columns to copy to the output.
        options: What to compute.
        only_flagged: Write only flagged rows.
        top: Write only this many rows, the most anomalous first: rows that rank below all others, then by p-value
            and score.
        explaining: Explain rows, in columns why_1, why_2, ... at the end. Only rows that are written are explained.
        fdr: Flag rows such that at most this share of the flagged rows is normal, on average: all rows decide
            together, so the results are held in a file beside the output until the last row is scored. None to flag
            each row by itself.
        overwrite: Whether an existing output is replaced.
        resume: Whether to go on with a job that was stopped; if none was, it starts.
        memory: Bytes that the process may take, about; None for what fast scoring needs.
        engine: What reads and scores the rows.
        on_batch: Called after each batch with the counts so far.
        on_scores: Called with the scores of each batch; their flags are those of the threshold, also with ``fdr``.
        collector: Collects what a report shows.

    Raises:
        InvalidInput: A column of the model or of ``keep`` is missing or has the wrong type.
        ConfigError: An option is wrong, a kept name is also an output column, the output cannot be written, another job
            writes it, the unfinished job to go on with is another one, or there is too little memory.
    """
    options = options or ScoreOptions()
    selection = Selection(only_flagged=only_flagged, top=top)
    results = results_of(scorer, options, OUTPUT_SCHEMA)
    match_columns(table.names, scorer.schema.names)
    fields = explaining.fields if explaining else []
    target = target_of(output, table, overwrite=overwrite)
    check_keep(table, keep, "-" if target is None else target.format, pa.schema([*selection.fields, *results, *fields]))
    schema = pa.schema([*table.schema_of(keep), *results])
    to = prepared(scorer, options, output, schema, selection, explaining, fdr, overwrite=overwrite)
    texts = text_inputs(scorer.schema) if explaining else ()
    size = BlockSize(most_rows(memory, len(scorer.schema.columns)))
    stages = Stages()
    job = Job(scorer, options, results, keep, texts, explaining, size, stages, collects=collector is not None)
    why_not = refuse_to_keep(target, table, selection, explaining)
    if target is None or why_not is not None:
        if resume:
            raise ConfigError(f"--resume: {why_not}")
        refuse_output(output, overwrite=overwrite)
        with engine(job, table, (0, 0)) as batches:
            summary = write_scores(batches, to, on_batch, on_scores, collector)
        summary.stages.update(stages.seconds)
        return summary
    if resume and not overwrite and is_complete(target, table):
        return ScoreSummary(was_complete=True)
    asked = (options, tuple(keep), only_flagged, top, explaining, fdr)
    identity = identity_of(scorer, table, asked, schema)
    with open_journal(
        target.path,
        identity,
        resume=resume,
        by_fragment=target.by_fragment,
        reduce=reducing(selection, to),
        where=target.where,
    ) as journal:
        kept = JournaledJob(to, target, table, journal, stages, collector)
        if not kept.is_published:
            with engine(job, table, kept.start) as batches:
                kept.run(batches, on_batch, on_scores)
    return kept.summary


def prepared(
    scorer: RowScorer,
    options: ScoreOptions,
    output: str,
    schema: pa.Schema,
    selection: Selection,
    explaining: Explaining | None,
    fdr: float | None = None,
    *,
    overwrite: bool,
) -> OutputOf:
    """Check the options before a row is read, and return where the scores are written.

    Args:
        scorer, options, output, explaining, fdr, overwrite: As for :func:`score_table`.
        schema: The columns of the output.
        selection: Which rows are written.

    Raises:
        ConfigError: An option is wrong.
    """
    selection.check(options, scorer.num_samples)
    explainer = discovery = None
    if fdr is not None:
        refuse_with_fdr(fdr, options, explaining)
        grid = scorer.p_value_grid(tail=options.tail)
        discovery = FalseDiscovery(rate=fdr, grid=grid, is_ordered=selection.is_ordered)
    if explaining is not None:
        explaining.check(options, scorer.num_samples)
        explainer = RowExplainer(scorer, explaining)
        scorer.explain_rows(np.empty((0, len(scorer.schema.columns))), top=explaining.top)  # a service may refuse it
    nothing = score_by(scorer, np.empty((0, len(scorer.schema.columns))), options)
    warn_uncalibrated(options, scorer.num_samples)
    thresholds = scorer.thresholds(target_fpr=options.target_fpr, tail=options.tail)
    has_flags = nothing.is_anomaly is not None
    return OutputOf(output, schema, selection, thresholds, has_flags, overwrite, explainer, discovery)
