"""Read a table with a label column into memory, for training, calibration and evaluation."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from anomaly_vae.arrays import FloatArray, GrowingRows
from anomaly_vae.batch import ScoreSummary
from anomaly_vae.cli.console import table_progress
from anomaly_vae.cli.reporting import warn
from anomaly_vae.columns.reading.cells import CellReader
from anomaly_vae.columns.reading.missing import Markers
from anomaly_vae.columns.reading.records import Input, NumberReading
from anomaly_vae.errors import InvalidInput
from anomaly_vae.table import Batch, Table

__all__ = [
    "Faults",
    "LabelledRows",
    "check_label",
    "check_marks",
    "label_errors",
    "read_normal_rows",
    "required_label",
    "with_label",
]

_EXPECTED_LABEL = "expected 0 (normal) or 1 (anomaly) in every row"
_TEXT_HINT = "; write 1 for the texts that mean an anomaly and 0 for the others"

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
class Faults:
    """The rows that cannot be used.

    Attributes:
        summary: Counts, of all rows and by kind of fault.
        texts: Rows by what is wrong with them.
    """

    summary: ScoreSummary = field(default_factory=ScoreSummary)
    texts: Counter[str] = field(default_factory=Counter)

    def note(self, batch: Batch) -> NDArray[np.bool_]:
        """Count the rows of a batch, and return which of them can be used, shape (N,)."""
        usable = np.array([fault is None for fault in batch.faults], dtype=bool)
        self.summary.note(batch)
        if not usable.all():
            self.texts.update(fault.text for fault in batch.faults if fault is not None)
            self.texts = Counter(dict(self.texts.most_common(_MOST_FAULTS)))
        return usable

    def report(self, where: str, label: str | None) -> None:
        """Warn of rows that are left out.

        Args:
            where: The input.
            label: Name of the label column, or None.

        Raises:
            InvalidInput: The label column holds texts, or no row can be used.
        """
        _refuse_label_of_text(self, label)
        _warn_left_out(self, where)


def check_label(table: Table, columns: Sequence[str], label: str | None) -> None:
    """Raise InvalidInput if the label column is missing, appears twice, or is one of the model's columns."""
    if label is not None and label not in table.names:
        known = ", ".join(filter(None, table.names[:10]))
        raise InvalidInput(f"--label {label}: the input has no such column; it has {known}")
    if label is not None and table.names.count(label) > 1:
        raise InvalidInput(f"--label {label}: the column appears more than once in the input")
    if label is not None and label in columns:
        raise InvalidInput(
            f"--label {label}: it is one of the model's columns, so the model would know the answer; leave it out of "
            f"the columns, as `train --label {label}` does"
        )


def required_label(table: Table, known: str | None, given: str | None) -> str:
    """Return the label column of a command that needs one: the given one, or that of the model.

    Args:
        table: The input.
        known: The label column of the model, or None.
        given: What the user chose, or None.

    Raises:
        InvalidInput: There is none.
    """
    if given is not None:
        return given
    if known is None or known not in table.names:
        seen = ", ".join(filter(None, table.names[:10]))
        missing = f"; the label column of MODEL, {known}, is not among them" if known else ""
        raise InvalidInput(
            f"{table.source.where}: which column says what is an anomaly? Give --label COLUMN, with 0 (normal) or 1 "
            f"(anomaly) in every row; the input has {seen}{missing}"
        )
    return known


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
        reader = with_label(reader, label, table)
    with label_errors(label), table_progress("reading", table, quiet=quiet) as on_batch:
        rows, faults = _read(table, reader, on_batch)
    faults.report(table.source.where, label)
    if label is None:
        return LabelledRows(normal=rows, anomalous=rows[:0])
    marked = rows[:, -1]
    has_mark = check_marks(marked, label)
    rows, marked = rows[has_mark], marked[has_mark]
    return LabelledRows(normal=rows[marked == 0.0, :-1], anomalous=rows[marked == 1.0, :-1])


def with_label(reader: CellReader, label: str, table: Table) -> CellReader:
    """Return a reader with the label as its last column; see :func:`check_marks`."""
    marks = Input(name=label, reading=NumberReading(decimal=table.source.decimal or ".", truth=True))
    return CellReader([*reader.inputs, marks], reader.book, Markers(reader.markers.added))


@contextlib.contextmanager
def label_errors(label: str | None) -> Iterator[None]:
    """Say what is expected where the label is a column of texts."""
    try:
        yield
    except InvalidInput as error:
        if label is not None and error.field == label:
            raise InvalidInput(f"--label {label}: {_EXPECTED_LABEL}, found text{_TEXT_HINT}") from error
        raise


def check_marks(marked: FloatArray, label: str) -> NDArray[np.bool_]:
    """Return which rows have a label, and warn of the others.

    Args:
        marked: The cells of the label column, shape (N,).
        label: Its name.

    Raises:
        InvalidInput: There are other values than 0 and 1.
    """
    has_mark = ~np.isnan(marked)
    if not has_mark.all():
        warn(f"{int((~has_mark).sum())} of {len(marked)} rows have no value in {label}; they are left out")
    if not np.isin(marked[has_mark], (0.0, 1.0)).all():
        odd = marked[has_mark & ~np.isin(marked, (0.0, 1.0))][0]
        raise InvalidInput(f"--label {label}: {_EXPECTED_LABEL}, found {odd:g}")
    return has_mark


def _read(table: Table, reader: CellReader, on_batch: object) -> tuple[FloatArray, Faults]:
    """Read all usable rows into memory, shape (N, columns), and count the faults of the others."""
    faults, rows = Faults(), GrowingRows(len(reader.inputs))
    for batch in table.batches(reader):
        usable = faults.note(batch)
        rows.append(batch.rows if usable.all() else batch.rows[usable])
        if callable(on_batch):
            on_batch(faults.summary)
    return rows.finished(), faults


def _refuse_label_of_text(faults: Faults, label: str | None) -> None:
    start = f"column {label!r}: "
    if label is not None and (found := next((text for text in faults.texts if text.startswith(start)), None)):
        raise InvalidInput(f"--label {label}: {_EXPECTED_LABEL}, found text: {found.removeprefix(start)}{_TEXT_HINT}")


def _warn_left_out(faults: Faults, where: str) -> None:
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
