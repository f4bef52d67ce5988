"""Read and score INPUT for ``anomaly-vae drift``: rows of a table, windows of series, or images."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from anomaly_vae.assessment.drift import Drift, DriftWatch
from anomaly_vae.assessment.shifts import NewRows
from anomaly_vae.batch import ScoreSummary
from anomaly_vae.cli.console import images_progress, rows_progress, table_progress
from anomaly_vae.cli.score_jobs import say_notes
from anomaly_vae.cli.table_options import say_how_it_was_read
from anomaly_vae.columns.rows import match_columns
from anomaly_vae.columns.shapes import SeriesShape
from anomaly_vae.columns.statistics import statistics_of
from anomaly_vae.errors import InvalidInput

if TYPE_CHECKING:
    from anomaly_vae.arrays import FloatArray
    from anomaly_vae.cli.model_input import ModelInput
    from anomaly_vae.scorer import Scorer
    from anomaly_vae.table import Fault

__all__ = ["watch_input"]

# Rows drawn from a model without statistics of its calibration rows. Chosen, not measured: quantiles of so many have an
# error of 1 % of the rows.
_SAMPLES = 5000

# Cells of the windows that are scored at once: 32 MiB. Chosen, not measured.
_CELLS_AT_ONCE = 2**22


def watch_input(given: ModelInput, scorer: Scorer, alpha: float, *, quiet: bool) -> tuple[Drift, ScoreSummary]:
    """Score the input and compare it with the calibration rows; return the comparison and the counts of rows.

    Raises:
        InvalidInput: The input does not fit the model, or no row of it can be scored.
        ConfigError: An option is wrong for this kind of model.
    """
    watch_kind = {"table": _watch_table, "series": _watch_series, "image": _watch_images}[scorer.schema.kind]
    watch, summary = watch_kind(given, scorer, alpha, quiet)
    drift = watch.result()
    if not drift.num_rows:
        why = next(iter(summary.examples.values()), "it has no rows with a value")
        raise InvalidInput(f"{given.path}: no row can be scored: {why}")
    return drift, summary


def _watch_table(given: ModelInput, scorer: Scorer, alpha: float, quiet: bool) -> tuple[DriftWatch, ScoreSummary]:
    schema, table = scorer.schema, given.table(scorer.schema)
    match_columns(table.names, schema.names)
    say_how_it_was_read(table, schema, quiet=quiet)
    known = scorer.bundle.manifest.statistics
    reference = known or statistics_of(schema, scorer.sample(_SAMPLES))
    watch = _watch(scorer, alpha, columns=NewRows(schema, reference), has_counts=known is not None)
    summary = ScoreSummary()
    with table_progress("scoring", table, quiet=quiet) as on_batch:
        for batch in table.batches(schema.reader()):
            rows = schema.expand(batch.rows[[fault is None for fault in batch.faults]])
            _add(watch, scorer, rows)
            summary.note(batch)
            if on_batch:
                on_batch(summary)
    return watch, summary


def _watch_series(given: ModelInput, scorer: Scorer, alpha: float, quiet: bool) -> tuple[DriftWatch, ScoreSummary]:
    from anomaly_vae.batch import read_series
    from anomaly_vae.series.windows import all_windows, window_rows

    schema, table = scorer.schema, given.table(scorer.schema)
    if not isinstance(shape := schema.shape, SeriesShape):
        raise TypeError("the model is not one of series")
    with table_progress("reading", table, quiet=quiet) as on_batch:
        series = read_series(table, schema, "-", (), on_batch)
    say_how_it_was_read(table, schema, quiet=quiet)
    say_notes(series.panel.notes, quiet=quiet)
    segments = series.panel.segments(shape.length)
    places = all_windows(segments, shape.length, stride=shape.length)
    watch, summary = _watch(scorer, alpha, only_low=True), ScoreSummary(rows=len(series))
    at_once = max(1, _CELLS_AT_ONCE // shape.num_cells)
    with rows_progress("scoring", len(places), quiet=quiet) as on_windows:
        for start in range(0, len(places), at_once):
            part = places[start : start + at_once]
            _add(watch, scorer, window_rows(segments, part, shape.length))
            if on_windows:
                on_windows(len(part))
    return watch, summary


def _watch_images(given: ModelInput, scorer: Scorer, alpha: float, quiet: bool) -> tuple[DriftWatch, ScoreSummary]:
    from anomaly_vae.batch.image_scoring import faults_of_images

    source = given.images(scorer.schema)
    say_notes(source.notes, quiet=quiet)
    watch, summary = _watch(scorer, alpha), ScoreSummary()
    with images_progress("scoring", len(source), quiet=quiet) as on_batch:
        for batch in source.batches():
            faults = faults_of_images(batch)
            _add(watch, scorer, batch.rows()[[fault is None for fault in faults]])
            summary.note(_Faults(faults))
            if on_batch:
                on_batch(summary)
    return watch, summary


class _Faults(NamedTuple):
    faults: list[Fault | None]


def _watch(
    scorer: Scorer, alpha: float, *, only_low: bool = False, columns: NewRows | None = None, has_counts: bool = True
) -> DriftWatch:
    bundle = scorer.bundle
    return DriftWatch(
        bundle.calibration,
        bundle.manifest.calibration.num_novel,
        tail=scorer.tail,
        alpha=alpha,
        only_low=only_low,
        contrast=bundle.contrast,
        columns=columns,
        has_counts=has_counts,
    )


def _add(watch: DriftWatch, scorer: Scorer, rows: FloatArray) -> None:
    """Score rows (N, D) as calibration rows are: those without any value have no score, but count in the columns."""
    judged = rows[~scorer.schema.is_empty(rows)]
    scores = scorer.score_rows(judged)
    ranked = np.where(scorer.schema.ranks_lowest(judged), -np.inf, scores.score)
    watch.add(ranked, rows, scores.contrast)
