"""Read a table with time series, for training and calibration."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import click
import numpy as np
from numpy.typing import NDArray

from anomaly_vae.arrays import FloatArray
from anomaly_vae.arrow.faults import Fault
from anomaly_vae.cli.reporting import printable, warn
from anomaly_vae.columns.reading.cells import CellReader
from anomaly_vae.columns.reading.codes import CodeBook
from anomaly_vae.columns.reading.frames import cells_of
from anomaly_vae.columns.reading.missing import Markers
from anomaly_vae.columns.reading.records import Input, NumberReading
from anomaly_vae.columns.rows import read_columns
from anomaly_vae.errors import InvalidInput
from anomaly_vae.series.grid import Panel
from anomaly_vae.table.raw import Source
from anomaly_vae.table.whole import read_whole

__all__ = ["SeriesTable", "read_series_table", "say_notes"]

_EXPECTED_LABEL = "expected 0 (normal) or 1 (anomaly) in every row"

# Kinds of faults that a message names.
_SHOWN_FAULTS = 5


class SeriesTable(NamedTuple):
    """All rows of a table with series.

    Attributes:
        columns: An Arrow table of the columns without the label.
        labels: 1 for anomalies, 0 for normal rows, NaN without a value, shape (N,); None without a label column.
        numbers: The number of each row in the file, from 1, shape (N,).
    """

    columns: Any
    labels: FloatArray | None
    numbers: NDArray[np.intp]


def read_series_table(
    source: Source, names: Sequence[str], label: str | None, *, keeps_steps: bool = False
) -> SeriesTable:
    """Read these columns of all rows. Rows with a fault are counted in a warning.

    Args:
        source: The table.
        names: The columns.
        label: Name of the label column, or None.
        keeps_steps: Keep a row with a fault as one of missing cells, where each row is a step. Otherwise it is left
            out: its time tells that a step is missing.

    Raises:
        InvalidInput: The label column holds other values than 0 and 1, no row can be used, or the file is damaged.
    """
    table = read_whole(source, [*names, *([] if label is None else [label])])
    _warn_of_faults(source.where, table.faults, table.num_rows)
    columns = table.with_missing_rows() if keeps_steps else table.columns
    labels = None if label is None else _labels(source, label, columns, len(table.faults) if keeps_steps else 0)
    numbers = 1 + (np.arange(table.num_rows) if keeps_steps else table.rows)
    return SeriesTable(columns.select(list(names)), labels, numbers)


def _labels(source: Source, name: str, columns: Any, num_faults: int) -> FloatArray:
    reading = Input(name=name, reading=NumberReading(decimal=source.decimal or ".", truth=True))
    try:
        labels = read_columns(CellReader([reading], CodeBook(), Markers()), [cells_of(columns.column(name))])[:, 0]
    except InvalidInput as error:
        raise InvalidInput(f"--label {name}: {_EXPECTED_LABEL}, found text: {error}") from error
    odd = labels[~np.isnan(labels) & ~np.isin(labels, (0.0, 1.0))]
    if len(odd):
        raise InvalidInput(f"--label {name}: {_EXPECTED_LABEL}, found {odd[0]:g}")
    if missing := int(np.isnan(labels).sum()) - num_faults:
        warn(f"{missing:,} of {len(labels):,} rows have no value in {name}; they are left out")
    return labels


def _warn_of_faults(where: str, faults: dict[int, Fault], num_rows: int) -> None:
    if not faults:
        return
    counts = Counter(fault.text for fault in faults.values())
    shown = "; ".join(
        f"{text} ({count:,} row{'s' if count > 1 else ''})" for text, count in counts.most_common(_SHOWN_FAULTS)
    )
    more = f"; and {len(counts) - _SHOWN_FAULTS} more kinds" if len(counts) > _SHOWN_FAULTS else ""
    if len(faults) == num_rows:
        raise InvalidInput(f"{where}: no row can be used: {shown}{more}")
    warn(
        f"{len(faults):,} of {num_rows:,} rows cannot be used: their steps are missing, from row {1 + min(faults)} on: "
        f"{shown}{more}"
    )


def say_notes(panel: Panel, *, quiet: bool) -> None:
    """Print what was found out about the times of the series: left-out rows as warnings, other notes in one line."""
    for note in panel.notes:
        if "left out" in note:
            warn(note)
        elif not quiet:
            click.echo(f"anomaly-vae: {printable(note)}", err=True)
