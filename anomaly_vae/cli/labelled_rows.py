"""Read a table with a label column into memory, for training and calibration."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from anomaly_vae.arrays import FloatArray, GrowingRows
from anomaly_vae.batch import ScoreSummary
from anomaly_vae.cli.console import table_progress
from anomaly_vae.cli.reporting import warn
from anomaly_vae.columns.reading.cells import CellReader
from anomaly_vae.columns.reading.missing import Markers
from anomaly_vae.columns.reading.records import Input, NumberReading
from anomaly_vae.errors import InvalidInput
from anomaly_vae.table import Table

__all__ = ["LabelledRows", "check_label", "read_normal_rows"]

_EXPECTED_LABEL = "expected 0 (normal) or 1 (anomaly) in every row"

# Different faults that are counted, and shown. Chosen, not measured: a column of free text has one fault for each row.
_MOST_FAULTS, _SHOWN_FAULTS = 1000, 5

# A share of rows left out that is worth a second thought. Chosen, not measured.
_LARGE_SHARE = 0.05
_LARGE_SHARE_HINT = (
    ". That is a large share: if such a text means a missing cell, give --missing-values TEXT; a column that should be "
    'categories needs [columns] NAME = "categorical" in the --config file'
)


@dataclass(frozen=True, kw_only=True)
class LabelledRows:
    """The rows of a table by label, as numbers; without a label column all rows are normal.

    Attributes:
        normal: Rows with label 0, shape (N, D).
        anomalous: Rows with label 1, shape (N, D).
    """

    normal: FloatArray
    anomalous: FloatArray


@dataclass
class _Faults:
    summary: ScoreSummary = field(default_factory=ScoreSummary)
    texts: Counter[str] = field(default_factory=Counter)


def check_label(table: Table, columns: Sequence[str], label: str | None) -> None:
    """Raise InvalidInput if the label column is missing, appears twice, or is one of the model's columns."""
    if label is not None and label not in table.names:
        known = ", ".join(filter(None, table.names[:10]))
        raise InvalidInput(f"--label {label}: the input has no such column; it has {known}")
    if label is not None and (label in columns or table.names.count(label) > 1):
        raise InvalidInput(f"--label {label}: the column appears more than once, or is one of the model's columns")


def read_normal_rows(table: Table, reader: CellReader, label: str | None, *, quiet: bool) -> LabelledRows:
    """Read the rows of a table. Rows that cannot be used are left out with a warning.

    Args:
        table: The input.
        reader: Reads the D columns.
        label: Name of the label column, or None.
        quiet: Show no progress bar.

    Raises:
        InvalidInput: The label column is missing, appears twice, or holds other values than 0 and 1; or no row can be
            used.
    """
    check_label(table, reader.names, label)
    if label is not None:
        marks = Input(name=label, reading=NumberReading(decimal=table.source.decimal or ".", truth=True))
        reader = CellReader([*reader.inputs, marks], reader.book, Markers(reader.markers.added))
    try:
        with table_progress("reading", table, quiet=quiet) as on_batch:
            rows, faults = _read(table, reader, on_batch)
    except InvalidInput as error:
        if label is not None and error.field == label:
            raise InvalidInput(f"--label {label}: {_EXPECTED_LABEL}, found text") from error
        raise
    _refuse_label_of_text(faults, label)
    _warn_left_out(faults, table.source.where)
    if label is None:
        return LabelledRows(normal=rows, anomalous=rows[:0])
    marked = rows[:, -1]
    if np.isnan(marked).any():
        warn(f"{int(np.isnan(marked).sum())} of {len(marked)} rows have no value in {label}; they are left out")
        rows, marked = rows[~np.isnan(marked)], marked[~np.isnan(marked)]
    if not np.isin(marked, (0.0, 1.0)).all():
        odd = marked[~np.isin(marked, (0.0, 1.0))][0]
        raise InvalidInput(f"--label {label}: {_EXPECTED_LABEL}, found {odd:g}")
    return LabelledRows(normal=rows[marked == 0.0, :-1], anomalous=rows[marked == 1.0, :-1])


def _read(table: Table, reader: CellReader, on_batch: object) -> tuple[FloatArray, _Faults]:
    """Read all usable rows into memory, shape (N, columns), and count the faults of the others."""
    faults, rows = _Faults(), GrowingRows(len(reader.inputs))
    for batch in table.batches(reader):
        usable = np.array([fault is None for fault in batch.faults], dtype=bool)
        rows.append(batch.rows if usable.all() else batch.rows[usable])
        faults.summary.note(batch)
        if not usable.all():
            faults.texts.update(fault.text for fault in batch.faults if fault is not None)
            faults.texts = Counter(dict(faults.texts.most_common(_MOST_FAULTS)))
        if callable(on_batch):
            on_batch(faults.summary)
    return rows.finished(), faults


def _refuse_label_of_text(faults: _Faults, label: str | None) -> None:
    start = f"column {label!r}: "
    if label is not None and (found := next((text for text in faults.texts if text.startswith(start)), None)):
        raise InvalidInput(f"--label {label}: {_EXPECTED_LABEL}, found text: {found.removeprefix(start)}")


def _warn_left_out(faults: _Faults, where: str) -> None:
    left_out, rows = faults.summary.unscored.total(), faults.summary.rows
    if not left_out:
        return
    shown = "; ".join(
        f"{text} ({count:,} row{'s' if count > 1 else ''})" for text, count in faults.texts.most_common(_SHOWN_FAULTS)
    )
    more = f"; and {len(faults.texts) - _SHOWN_FAULTS} more kinds" if len(faults.texts) > _SHOWN_FAULTS else ""
    if left_out == rows:
        raise InvalidInput(f"{where}: no row can be used: {shown}{more}")
    hint = _LARGE_SHARE_HINT if left_out > _LARGE_SHARE * rows else ""
    first = min(int(text.split(":")[0].removeprefix("row ")) for text in faults.summary.examples.values())
    warn(f"{left_out:,} of {rows:,} rows cannot be used and are left out, from row {first} on: {shown}{more}{hint}")
