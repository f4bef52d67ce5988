"""The rows of INPUT for a report: all are scored, and what the page shows is kept, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from anomaly_vae.arrays import FloatArray
from anomaly_vae.batch import ScoreSummary, read_series
from anomaly_vae.batch.explaining import text_inputs
from anomaly_vae.batch.image_scoring import faults_of_images
from anomaly_vae.batch.selection import order_keys
from anomaly_vae.cli.console import images_progress, rows_progress, table_progress
from anomaly_vae.cli.score_jobs import say_notes
from anomaly_vae.cli.table_options import say_how_it_was_read
from anomaly_vae.columns.reading.missing import text_of
from anomaly_vae.columns.rows import match_columns
from anomaly_vae.columns.shapes import SeriesShape
from anomaly_vae.scores import Scores, join
from anomaly_vae.series.clock import shown_time
from anomaly_vae.table import Batch, Fault

if TYPE_CHECKING:
    from anomaly_vae.cli.model_input import ModelInput
    from anomaly_vae.scorer import Scorer

__all__ = ["Found", "Kept", "find_rows"]

# Parts of the histogram of p-values, rows of the map and of the quantiles of standard errors, and windows among which
# the worst are chosen that share no step. Chosen, not measured.
_PARTS, _MAP_ROWS, _CANDIDATES = 20, 1500, 300


@dataclass(frozen=True)
class Kept:
    """Some rows with their scores.

    Attributes:
        numbers: Their numbers in the input, from 0, shape (n,).
        rows: Shape (n, D).
        scores: Their scores.
        keys: What orders them, shape (n, K).
    """

    numbers: NDArray[np.intp]
    rows: FloatArray
    scores: Scores
    keys: FloatArray

    def __len__(self) -> int:
        return len(self.numbers)

    def take(self, chosen: NDArray[np.intp]) -> Kept:
        """Return the rows at these places."""
        return Kept(self.numbers[chosen], self.rows[chosen], self.scores[chosen], self.keys[chosen])


class Found(NamedTuple):
    """What was found in the input.

    Attributes:
        summary: The counts.
        num_scored, num_reliable: Rows with a score, and with one that can be trusted.
        p_counts: Rows with p-values in equal parts of 0 to 1.
        worst: The most anomalous rows, the worst first.
        sample: A random sample of the rows, the same for the same input. In place of the rows it has their places in
            the latent space, shape (n, L), which take less memory.
        names: What the worst rows are called.
        texts: The cells of the worst rows in columns of text, by the name of the column; nothing of windows and images.
    """

    summary: ScoreSummary
    num_scored: int
    num_reliable: int
    p_counts: NDArray[np.intp]
    worst: Kept
    sample: Kept
    names: list[str]
    texts: list[dict[str, str | None]]


def find_rows(scorer: Scorer, given: ModelInput, count: int, *, quiet: bool) -> Found:
    """Score all rows of an input as the model needs it.

    Args:
        scorer: The model.
        given: The input.
        count: Worst rows to return, at most.
        quiet: Show no progress.

    Raises:
        InvalidInput: The input does not fit the model.
    """
    run = {"table": _table, "series": _series, "image": _images}[scorer.schema.kind]
    return run(scorer, given, count, quiet=quiet)


class _Collector:
    """Scores rows and keeps what the page shows."""

    def __init__(self, scorer: Scorer, most: int) -> None:
        self._scorer, self._most = scorer, most
        self._order = np.random.default_rng(0)
        self._worst: Kept | None = None
        self._sample: Kept | None = None
        self._texts = dict[int, dict[str, str | None]]()
        self.summary = ScoreSummary(anomalies=0)
        self.num_scored = self.num_reliable = 0
        self.p_counts = np.zeros(_PARTS, dtype=np.intp)

    def add(self, numbers: NDArray[np.intp], rows: FloatArray) -> None:
        """Take rows, with their numbers from 0."""
        if not len(rows):
            return
        scores = self._scorer.score_rows(rows)
        self.num_scored += len(rows)
        self.num_reliable += int(scores.reliable.sum())
        if scores.is_anomaly is not None:
            self.summary.anomalies = (self.summary.anomalies or 0) + int(scores.is_anomaly.sum())
        if scores.p_value is not None:
            # Up to and with the upper edge: p-values are multiples of 1 / (n + 1), and 0 is none of them.
            parts = np.ceil(np.asarray(scores.p_value) * _PARTS * (1.0 - 1e-12)).astype(np.intp) - 1
            self.p_counts += np.bincount(parts, minlength=_PARTS)
        lowest = self._scorer.schema.ranks_lowest(rows)
        keys = order_keys(scores, lowest, numbers.astype(np.int64), self._scorer.thresholds())
        if keys is not None:
            self._worst = _lowest(self._worst, Kept(numbers, rows, scores, keys), self._most)
        self._draw(Kept(numbers, rows, scores, self._order.random((len(rows), 1))))

    def add_texts(self, start: int, batch: Batch) -> None:
        """Keep the texts of those rows of a batch, from number ``start`` on, that are among the worst so far."""
        worst = set() if self._worst is None else set(self._worst.numbers.tolist())
        self._texts = {number: cells for number, cells in self._texts.items() if number in worst}
        for number in worst.intersection(range(start, start + len(batch.rows))):
            kept = {name: batch.kept.column(name)[number - start].as_py() for name in batch.kept.schema.names}
            self._texts[number] = {name: text_of(cell) for name, cell in kept.items()}

    def _draw(self, new: Kept) -> None:
        """Keep the places of the rows with the lowest random numbers; only those that are kept are encoded."""
        before = self._sample
        is_full = before is not None and len(before) == _MAP_ROWS
        limit = before.keys[-1, 0] if before is not None and is_full else np.inf
        new = new.take(np.flatnonzero(new.keys[:, 0] < limit))
        if len(new):
            self._sample = _lowest(before, replace(new, rows=self._scorer.encode_rows(new.rows)), _MAP_ROWS)

    def found(self, count: int, spacing: int, names_of: Callable[[Sequence[int]], list[str]]) -> Found:
        """Return what was found; of rows that are nearer to each other than ``spacing`` only the worst is kept."""
        empty = np.empty((0, len(self._scorer.schema.columns)))
        nothing = Kept(np.empty(0, dtype=np.intp), empty, self._scorer.score_rows(empty), np.empty((0, 1)))
        worst = nothing if self._worst is None else self._worst.take(_apart(self._worst.numbers, spacing)[:count])
        return Found(
            self.summary,
            self.num_scored,
            self.num_reliable,
            self.p_counts,
            worst,
            nothing if self._sample is None else self._sample,
            names_of(worst.numbers.tolist()),
            [self._texts.get(number, {}) for number in worst.numbers.tolist()],
        )


def _lowest(before: Kept | None, new: Kept, count: int) -> Kept:
    """Return the rows with the lowest keys, in their order."""
    if before is not None:
        new = Kept(
            np.concatenate([before.numbers, new.numbers]),
            np.concatenate([before.rows, new.rows]),
            join([before.scores, new.scores]),
            np.concatenate([before.keys, new.keys]),
        )
    return new.take(np.lexsort(new.keys.T[::-1])[:count])


def _apart(numbers: NDArray[np.intp], spacing: int) -> NDArray[np.intp]:
    """Return which numbers to keep, so that no two are nearer than ``spacing``; earlier ones have priority."""
    kept = list[int]()
    for i, number in enumerate(numbers.tolist()):
        if all(abs(number - numbers[j]) >= spacing for j in kept):
            kept.append(i)
    return np.array(kept, dtype=np.intp)


def _table(scorer: Scorer, given: ModelInput, count: int, *, quiet: bool) -> Found:
    schema, table = scorer.schema, given.table(scorer.schema)
    match_columns(table.names, schema.names)
    say_how_it_was_read(table, schema, quiet=quiet)
    collected = _Collector(scorer, count)
    with table_progress("scoring", table, quiet=quiet) as on_batch:
        for batch in table.batches(schema.reader(), text_inputs(schema)):
            usable = np.flatnonzero([fault is None for fault in batch.faults])
            start = collected.summary.rows
            collected.summary.note(batch)
            collected.add(start + usable, schema.expand(batch.rows[usable]))
            collected.add_texts(start, batch)
            if on_batch:
                on_batch(collected.summary)
    return collected.found(count, 1, lambda numbers: [str(number + 1) for number in numbers])


def _series(scorer: Scorer, given: ModelInput, count: int, *, quiet: bool) -> Found:
    schema, table = scorer.schema, given.table(scorer.schema)
    shape = schema.shape
    if not isinstance(shape, SeriesShape):
        raise TypeError("the model is not one of series")
    collected = _Collector(scorer, max(count, _CANDIDATES))
    with table_progress("reading", table, quiet=quiet) as on_batch:
        series = read_series(table, schema, "-", (), on_batch)
    say_how_it_was_read(table, schema, quiet=quiet)
    say_notes(series.panel.notes, quiet=quiet)
    collected.summary.rows = len(series)
    with rows_progress("scoring", series.num_windows, quiet=quiet) as on_windows:
        for ends, windows in series.windows():
            for part in _parts(len(ends)):
                collected.add(ends[part], windows[part])
                if on_windows:
                    on_windows(len(ends[part]))

    def names(numbers: Sequence[int]) -> list[str]:
        times = series.seconds
        return [_window_name(row, None if times is None else float(times[row]), series.names) for row in numbers]

    return collected.found(count, shape.length, names)


def _window_name(row: int, seconds: float | None, names: Sequence[str | None] | None) -> str:
    """Return what the window is called that ends at a row."""
    series = f" of {names[row]}" if names is not None and names[row] is not None else ""
    if seconds is None or np.isnan(seconds):
        return f"until row {row + 1:,}{series}"
    return f"until {shown_time(seconds)}{series}"


def _images(scorer: Scorer, given: ModelInput, count: int, *, quiet: bool) -> Found:
    source = given.images(scorer.schema)
    say_notes(source.notes, quiet=quiet)
    collected = _Collector(scorer, count)
    with images_progress("scoring", len(source), quiet=quiet) as on_batch:
        for batch in source.batches():
            faults = faults_of_images(batch)
            usable = np.flatnonzero([fault is None for fault in faults])
            collected.summary.note(_Faults(faults))
            collected.add(batch.start + usable, batch.rows()[usable])
            if on_batch:
                on_batch(collected.summary)
    return collected.found(count, 1, lambda numbers: [source.names[number] for number in numbers])


class _Faults(NamedTuple):
    faults: Sequence[Fault | None]


def _parts(count: int, size: int = 4096) -> Iterator[slice]:
    return (slice(start, start + size) for start in range(0, count, size))
