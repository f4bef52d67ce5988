"""Rows of a table that a model is assessed on, and what the model says about them, for ``evaluate`` and ``compare``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from anomaly_vae.arrays import FloatArray, GrowingRows
from anomaly_vae.assessment.operating_points import RateOrReason
from anomaly_vae.assessment.promise import Promise, promise_of
from anomaly_vae.assessment.ranking import Judged
from anomaly_vae.bundle.decision_rule import DecisionRule
from anomaly_vae.cli.console import rows_progress, table_progress
from anomaly_vae.cli.labelled_rows import Faults, check_label, check_marks, label_errors, with_label
from anomaly_vae.cli.table_options import say_how_it_was_read
from anomaly_vae.columns.reading.cells import CellReader
from anomaly_vae.columns.reading.missing import Markers, text_of
from anomaly_vae.columns.reading.records import LeftOut, NumberReading, TextReading
from anomaly_vae.columns.rows import match_columns
from anomaly_vae.errors import ConfigError, InvalidInput
from anomaly_vae.scorer import Scorer, load
from anomaly_vae.scores import join
from anomaly_vae.table import Table

__all__ = ["RowsOfTable", "judge", "open_model", "own_promise", "rates_of", "read_rows", "refuse_series"]

# Rows that are scored at once. Chosen, not measured: so many that threads are busy, and a progress bar moves often.
_ROWS_AT_ONCE = 1024

# The wall clock that times are counted from.
_EPOCH = datetime(1970, 1, 1)


class RowsOfTable(NamedTuple):
    """The rows of a table that can be scored.

    Attributes:
        numbers: Their numbers in the input, from 1, shape (N,).
        rows: Their cells, as the model takes them, shape (N, D).
        labels: Which of them are anomalies, shape (N,); all False without a label column.
        cells: The values of further columns by name, N of each: texts and numbers, None where a cell is missing.
        left_out: Rows of the input that cannot be used.
        names: The names of images, N; None for rows of a table.
    """

    numbers: NDArray[np.int64]
    rows: FloatArray
    labels: NDArray[np.bool_]
    cells: dict[str, list[Any]]
    left_out: int
    names: tuple[str, ...] | None = None


def open_model(model: str, command: str, *, threads: int | None) -> Scorer:
    """Load a model of tables or of images.

    Args:
        model: Its directory.
        command: The command that needs it.
        threads: Number of compute threads; None for all cores.

    Raises:
        ConfigError: It is a service, or a model of series; exit code 2.
        BundleError: The bundle is damaged.
    """
    if "://" in model:
        raise ConfigError(
            f"MODEL {model} is a service; `anomaly-vae {command}` needs the directory of the model that it serves"
        )
    scorer = load(model, threads=threads)
    refuse_series(scorer, model, command)
    return scorer


def refuse_series(scorer: Scorer, model: str, command: str) -> None:
    """Raise ConfigError if the model is one of series; exit code 2."""
    if scorer.schema.kind == "series":
        raise ConfigError(
            f"MODEL {model} scores windows of series. Windows overlap, so their flags depend on each other, and the "
            f"intervals of `anomaly-vae {command}` would be wrong; it is for tables and images. `train --label` "
            "reports the AUROC of steps, and `score` writes p_value and is_anomaly for each"
        )


def read_rows(
    table: Table, scorer: Scorer, *, label: str | None = None, by: Sequence[str] = (), quiet: bool
) -> RowsOfTable:
    """Read all rows of a table into memory. Rows that cannot be used are left out with a warning.

    Args:
        table: The input.
        scorer: The model.
        label: Name of the 0/1 column; None if there is none.
        by: Columns whose values are returned too; they may be columns of the model.
        quiet: Show no progress bar.

    Raises:
        InvalidInput: A column is missing, the label holds other values than 0 and 1, or no row can be used.
    """
    schema = scorer.schema
    match_columns(table.names, schema.names)
    reader = schema.reader()
    check_label(table, reader.names, label)
    _check_by(table, by, label)
    say_how_it_was_read(table, schema, quiet=quiet)
    if label is not None:
        reader = with_label(reader, label, table)
    faults, rows, places = Faults(), GrowingRows(len(reader.inputs)), list[NDArray[np.intp]]()
    cells: dict[str, list[Any]] = {name: [] for name in by}
    with label_errors(label), table_progress("reading", table, quiet=quiet) as on_batch:
        for batch in table.batches(reader, by):
            places.append(faults.summary.rows + 1 + np.flatnonzero(usable := faults.note(batch)))
            rows.append(batch.rows[usable])
            for name in by:
                values = batch.kept.column(name).to_pylist()
                cells[name] += [values[i] for i in np.flatnonzero(usable)]
            if on_batch:
                on_batch(faults.summary)
    faults.report(table.source.where, label)
    found, numbers = rows.finished(), np.concatenate([np.empty(0, dtype=np.int64), *places])
    labels = np.zeros(len(found), dtype=bool)
    if label is not None:
        has_mark = check_marks(found[:, -1], label)
        found, numbers, labels = found[has_mark, :-1], numbers[has_mark], found[has_mark, -1] == 1.0
        cells = {name: [values[i] for i in np.flatnonzero(has_mark)] for name, values in cells.items()}
    if not len(found):
        raise InvalidInput(f"{table.source.where}: no row can be used")
    markers = Markers((*reader.markers.added, *table.missing_values))
    for name, values in cells.items():
        read = _as_read(reader, name, found)
        cells[name] = _clean(values, markers, table.source.decimal) if read is None else read
    return RowsOfTable(numbers, schema.expand(found), labels, cells, faults.summary.rows - len(found))


def _check_by(table: Table, by: Sequence[str], label: str | None) -> None:
    for name in by:
        if name == label:
            raise ConfigError(f"--by {name}: this is the label column; give another one")
        if table.names.count(name) != 1:
            known = ", ".join(filter(None, table.names[:10]))
            found = "no such column" if name not in table.names else "more than one such column"
            raise InvalidInput(f"--by {name}: the input has {found}; it has {known}", field=name)


def _as_read(reader: CellReader, name: str, rows: FloatArray) -> list[Any] | None:
    """Return the numbers or times that the model reads from a column, None for a missing cell; None for other columns.

    Args:
        reader: The columns that are read.
        name: The column.
        rows: Their cells as numbers, shape (N, columns).
    """
    if name not in reader.names or isinstance(reading := reader.reading(name), TextReading | LeftOut):
        return None
    numbers = [None if math.isnan(number) else number for number in rows[:, reader.names.index(name)].tolist()]
    if isinstance(reading, NumberReading):
        return numbers
    return [None if micros is None else _EPOCH + timedelta(microseconds=micros) for micros in numbers]


def _clean(values: Sequence[Any], markers: Markers, decimal: str | None) -> list[Any]:
    """Return the cells of a column as numbers or times if all of them are, else as texts; None where one is missing."""
    if all(value is None or isinstance(value, datetime) for value in values):
        return [None if value is None else value.replace(tzinfo=None) for value in values]
    texts = [text_of(value) for value in values]
    texts = [None if text is None or markers.in_texts(text) else text for text in texts]
    try:
        return [_number(text, markers, decimal) for text in texts]
    except ValueError:
        return texts


def _number(text: str | None, markers: Markers, decimal: str | None) -> float | None:
    if text is None or markers.among_numbers(text):
        return None
    return float(text.replace(",", ".") if decimal == "," else text)


def judge(scorer: Scorer, rows: FloatArray, *, title: str = "scoring", quiet: bool) -> Judged:
    """Score rows of a model, shape (N, D), at least one.

    Args:
        scorer: The model.
        rows: As it takes them.
        title: Shown before the progress.
        quiet: Show no progress bar.
    """
    parts = []
    with rows_progress(title, len(rows), quiet=quiet) as on_rows:
        for start in range(0, len(rows), _ROWS_AT_ONCE):
            part = rows[start : start + _ROWS_AT_ONCE]
            parts.append(scorer.score_rows(part))
            if on_rows:
                on_rows(len(part))
    return Judged(join(parts), scorer.schema.ranks_lowest(rows), scorer.thresholds())


def own_promise(scorer: Scorer) -> Promise:
    """Return what the threshold of a model promises."""
    calibration = scorer.bundle.manifest.calibration
    return promise_of(calibration, calibration.target_fpr, calibration.effective_fpr)


def rates_of(scorer: Scorer, rates: Sequence[float]) -> list[RateOrReason]:
    """Return what thresholds for other false-positive rates promise, or why there are none."""
    bundle, found = scorer.bundle, []
    for rate in rates:
        try:
            rule = DecisionRule(bundle.manifest.calibration, bundle.calibration, rate, None, bundle.contrast)
        except ConfigError as error:
            found.append(RateOrReason(rate, None, str(error)))
        else:
            found.append(RateOrReason(rate, promise_of(bundle.manifest.calibration, rate, rule.effective_fpr)))
    return found
