"""Score the time series of a table and write one output row for each of its rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from anomaly_vae.arrays import FloatArray
from anomaly_vae.arrow.buffers import from_numpy
from anomaly_vae.arrow.results import OUTPUT_SCHEMA, result_columns
from anomaly_vae.arrow.scoring import results_of, score_by
from anomaly_vae.batch.collected import Collector
from anomaly_vae.batch.explaining import Explaining, ToExplain
from anomaly_vae.batch.kept import refuse_names
from anomaly_vae.batch.scored import ScoredBatch, write_scores
from anomaly_vae.batch.scoring import RowScorer, prepared
from anomaly_vae.batch.selection import Selection
from anomaly_vae.batch.series_input import SeriesInput
from anomaly_vae.batch.summary import ScoreSummary
from anomaly_vae.errors import ConfigError
from anomaly_vae.score_options import ScoreOptions
from anomaly_vae.scores import Flags, Scores
from anomaly_vae.series.results import SeriesScores
from anomaly_vae.series.scoring import score_panel
from anomaly_vae.table import Fault

__all__ = ["SERIES_SCHEMA", "check_series_options", "score_series"]

SERIES_SCHEMA = OUTPUT_SCHEMA.append(pa.field("step_score", pa.float64()))

# Rows that are written at once. Chosen, not measured.
_ROWS_AT_ONCE = 65_536

# Cells of the windows of these rows, if every row may be explained: 128 MiB. Chosen, not measured.
_CELLS_AT_ONCE = 2**24


def check_series_options(options: ScoreOptions) -> None:
    """Raise ConfigError if the options do not fit series."""
    if options.flag_only:
        raise ConfigError(
            "flag_only is for rows of a table and for images: the step_score of series needs the scores of all "
            "windows; leave it out"
        )


def score_series(
    scorer: RowScorer,
    series: SeriesInput,
    output: str,
    *,
    options: ScoreOptions | None = None,
    only_flagged: bool = False,
    top: int | None = None,
    explaining: Explaining | None = None,
    fdr: float | None = None,
    overwrite: bool = False,
    on_windows: Callable[[int], None] | None = None,
    on_batch: Callable[[ScoreSummary], None] | None = None,
    collector: Collector | None = None,
) -> tuple[ScoreSummary, SeriesScores]:
    """Score the window that ends at each row of a table, and write the results in input order.

    Rows at which no window ends are written with nulls and a reason, such as "warm-up"; the column ``step_score`` has a
    value there too, if a later window covers the step.

    Args:
        scorer: Scores windows.
        series: The table, from :func:`~anomaly_vae.batch.series_input.read_series`.
        output, only_flagged, top, explaining, fdr, overwrite: As for :func:`~anomaly_vae.batch.scoring.score_table`.
        options: What to compute; flags alone are not possible.
        on_windows: Called with the number of windows just scored.
        on_batch: Called with the counts after each part of the rows, and after rows were explained.
        collector: Collects what a report shows.

    Returns:
        The counts, and the scores of all rows.

    Raises:
        ConfigError: An option is wrong, or the output cannot be written.
    """
    options, selection = options or ScoreOptions(), Selection(only_flagged=only_flagged, top=top)
    check_series_options(options)
    results = results_of(scorer, options, SERIES_SCHEMA)
    fields = explaining.fields if explaining else []
    refuse_names(series.kept.schema.names, pa.schema([*selection.fields, *results, *fields]))
    schema = pa.schema([*series.kept.schema, *results])
    to = prepared(scorer, options, output, schema, selection, explaining, fdr, overwrite=overwrite)
    job = _Job(scorer, series, options, results, explaining)
    summary = write_scores(job.batches(on_windows), to, on_batch, collector=collector)
    return summary, job.scores


class _Job:
    """Scores series when the first batch is taken, so that an output that cannot be written fails before."""

    scores: SeriesScores

    def __init__(
        self,
        scorer: RowScorer,
        series: SeriesInput,
        options: ScoreOptions,
        results: pa.Schema,
        explaining: Explaining | None,
    ) -> None:
        self._explaining = explaining
        self._scorer, self._series, self._options, self._results = scorer, series, options, results
        self._lowest: list[NDArray[np.bool_]] = []

    def batches(self, on_windows: Callable[[int], None] | None) -> Iterator[ScoredBatch]:
        series = self._series
        self.scores = score_panel(self._score, series.panel, series.shape.length, on_windows=on_windows)
        has_window, lowest = self.scores.has_window, self._lowest_rows()
        step = _ROWS_AT_ONCE
        if self._explaining is not None:
            step = max(1, min(step, _CELLS_AT_ONCE // series.shape.num_cells))
        for start in range(0, len(series), step):
            rows = slice(start, min(start + step, len(series)))
            scores, usable = self.scores[rows], has_window[rows]
            faults = self._faults(scores, start)
            steps = from_numpy(scores.step_score, ~np.isnan(scores.step_score))
            own = scores[usable]
            results = result_columns(self._results, own, usable, faults, {"step_score": steps})
            columns = [*series.kept_columns(rows.start, rows.stop), *results]
            explained = self._to_explain(own, start + np.flatnonzero(usable))
            yield ScoredBatch(columns, faults, usable, own, lowest[rows][usable], explained)

    def _to_explain(self, scores: Scores, ends: NDArray[np.intp]) -> ToExplain | None:
        """Return which of the windows that end at some rows are explained."""
        if self._explaining is None:
            return None
        wanted = self._explaining.wanted(scores)
        return ToExplain(wanted, self._series.windows_at(ends[wanted]))

    def _score(self, rows: FloatArray) -> Scores:
        scores: Scores | Flags = score_by(self._scorer, rows, self._options)
        if not isinstance(scores, Scores):
            raise TypeError("flags alone are no scores")
        self._lowest.append(self._scorer.schema.ranks_lowest(rows))
        return scores

    def _lowest_rows(self) -> NDArray[np.bool_]:
        """Return at which rows a window ends that ranks below all others, shape (N,)."""
        found = np.zeros(len(self._series), dtype=bool)
        found[self._series.window_ends()] = np.concatenate(self._lowest)
        return found

    def _faults(self, scores: SeriesScores, start: int) -> list[Fault | None]:
        """Return for each row why it has no score of its own."""
        return [
            self._series.faults.get(start + i) or Fault((reason or "").partition(":")[0], reason or "")
            if not has_window
            else None
            for i, (reason, has_window) in enumerate(zip(scores.reason, scores.has_window, strict=True))
        ]
