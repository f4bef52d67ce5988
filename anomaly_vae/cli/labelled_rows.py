"""Read a table with a label column into memory, for training and calibration."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from anomaly_vae.arrays import FloatArray
from anomaly_vae.batch import ScoreSummary, read_usable
from anomaly_vae.cli.console import table_progress
from anomaly_vae.cli.reporting import warn
from anomaly_vae.errors import InvalidInput
from anomaly_vae.table import CodeBook, Table

__all__ = ["LabelledRows", "read_normal_rows"]

_EXPECTED_LABEL = "expected 0 (normal) or 1 (anomaly) in every row"


@dataclass(frozen=True, kw_only=True)
class LabelledRows:
    """The rows of a table by label, in data units; without a label column all rows are normal.

    Attributes:
        normal: Rows with label 0, shape (N, D).
        anomalous: Rows with label 1, shape (N, D).
    """

    normal: FloatArray
    anomalous: FloatArray


def read_normal_rows(
    table: Table, columns: tuple[str, ...], label: str | None, book: CodeBook, *, quiet: bool
) -> LabelledRows:
    """Read the rows of a table. Rows that cannot be used are left out with a warning.

    Args:
        table: The input.
        columns: Names of the D columns.
        label: Name of the label column, or None.
        book: Codes of text columns.
        quiet: Show no progress bar.

    Raises:
        InvalidInput: The label column is missing, appears twice, or holds other values than 0 and 1.
    """
    if label is not None and label not in table.names:
        raise InvalidInput(f"--label {label}: the input has no such column; it has {', '.join(table.names[:10])}")
    if label is not None and (label in columns or table.names.count(label) > 1):
        raise InvalidInput(f"--label {label}: the column appears more than once, or is one of the model's columns")
    wanted = columns if label is None else (*columns, label)
    try:
        with table_progress("reading", table, quiet=quiet) as on_batch:
            rows, summary = read_usable(table, wanted, book, on_batch)
    except InvalidInput as error:
        if label is not None and error.field == label:
            raise InvalidInput(f"--label {label}: {_EXPECTED_LABEL}, found text") from error
        raise
    _warn_left_out(summary)
    if label is None:
        return LabelledRows(normal=rows, anomalous=rows[:0])
    if label in book:
        raise InvalidInput(f"--label {label}: {_EXPECTED_LABEL}, found text")
    marks = rows[:, -1]
    if np.isnan(marks).any():
        warn(f"{int(np.isnan(marks).sum())} of {len(marks)} rows have no value in {label}; they are left out")
        rows, marks = rows[~np.isnan(marks)], marks[~np.isnan(marks)]
    if not np.isin(marks, (0.0, 1.0)).all():
        odd = marks[~np.isin(marks, (0.0, 1.0))][0]
        raise InvalidInput(f"--label {label}: {_EXPECTED_LABEL}, found {odd:g}")
    return LabelledRows(normal=rows[marks == 0.0, :-1], anomalous=rows[marks == 1.0, :-1])


def _warn_left_out(summary: ScoreSummary) -> None:
    if summary.unscored:
        example = next(iter(summary.examples.values()))
        warn(
            f"{summary.unscored.total()} of {summary.rows} rows cannot be used and are left out; for example {example}"
        )
