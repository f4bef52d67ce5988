"""The time series of a table to score, in memory: memory grows with the rows of the table, not with its windows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from anomaly_vae.arrays import FloatArray
from anomaly_vae.batch.kept import check_keep
from anomaly_vae.batch.summary import ScoreSummary
from anomaly_vae.columns.reading.cells import CellReader
from anomaly_vae.columns.reading.codes import CodeBook
from anomaly_vae.columns.reading.frames import cells_of
from anomaly_vae.columns.reading.missing import Markers
from anomaly_vae.columns.reading.records import Input, NumberReading
from anomaly_vae.columns.rows import match_columns
from anomaly_vae.columns.schema import Schema
from anomaly_vae.columns.shapes import SeriesShape
from anomaly_vae.errors import InvalidInput
from anomaly_vae.series.cells import names_of, seconds_of
from anomaly_vae.series.grid import Panel, make_panel
from anomaly_vae.series.windows import all_windows, rows_at_ends, window_rows
from anomaly_vae.table import Batch, Fault, Table

__all__ = ["SeriesInput", "read_series", "series_names"]

# Cells of the windows that are in memory at once: 32 MiB. Chosen, not measured.
_CELLS_AT_ONCE = 2**22


@dataclass(frozen=True, kw_only=True)
class SeriesInput:
    """The series of a table.

    Attributes:
        shape: What a window is.
        panel: The series. All rows of the table are its rows; those that cannot be read have no values.
        faults: Why rows cannot be read, by their number from 0.
        kept: The columns to copy to the output, of all rows.
        seconds: The time of each row, NaN for a missing one, shape (N,); None without times.
        names: The series of each row, None for a missing name; None if all rows are one series.
    """

    shape: SeriesShape
    panel: Panel
    faults: dict[int, Fault]
    kept: pa.Table
    seconds: FloatArray | None
    names: list[str | None] | None

    def __len__(self) -> int:
        return len(self.panel.values)

    @property
    def num_windows(self) -> int:
        """Number of windows that can be scored."""
        return len(self.window_ends())

    def window_ends(self) -> NDArray[np.intp]:
        """Return the row at which each window ends, in the order of :meth:`windows`."""
        segments = self.panel.segments(self.shape.length)
        return rows_at_ends(segments, all_windows(segments, self.shape.length))

    def windows(self) -> Iterator[tuple[NDArray[np.intp], FloatArray]]:
        """Yield the windows in parts: the rows at which they end, and their cells (n, length * C)."""
        length = self.shape.length
        segments = self.panel.segments(length)
        places = all_windows(segments, length)
        at_once = max(1, _CELLS_AT_ONCE // self.shape.num_cells)
        for start in range(0, len(places), at_once):
            part = places[start : start + at_once]
            yield rows_at_ends(segments, part), window_rows(segments, part, length)

    def windows_at(self, rows: NDArray[np.intp]) -> FloatArray:
        """Return the windows that end at some rows, in their order: cells (n, length * C)."""
        length = self.shape.length
        segments = self.panel.segments(length)
        places = all_windows(segments, length)
        ends = rows_at_ends(segments, places)
        order = np.argsort(ends)
        return window_rows(segments, places[order[np.searchsorted(ends, rows, sorter=order)]], length)

    def kept_columns(self, start: int, end: int) -> list[pa.Array]:
        """Return the kept columns of the rows from ``start`` to ``end``."""
        return [column.slice(start, end - start).combine_chunks() for column in self.kept.columns]


def series_names(shape: SeriesShape) -> tuple[str, ...]:
    """Return the names of the columns that a table to score must have."""
    return tuple(name for name in (shape.timestamp, shape.series) if name is not None) + shape.channels


def read_series(
    table: Table,
    schema: Schema,
    output: str,
    keep: Sequence[str] = (),
    on_batch: Callable[[ScoreSummary], None] | None = None,
) -> SeriesInput:
    """Read all rows of a table as series.

    A row that cannot be read has no values: without times it is still a step of its series.

    Args:
        table: The columns of the model, in any order.
        schema: The columns and the windows of the model.
        output: Path of the file that the results will be written to, or "-".
        keep: Columns to copy to it.
        on_batch: Called after each batch with the counts so far.

    Raises:
        InvalidInput: A column is missing or of another type, or the times cannot be used: see
            :func:`anomaly_vae.series.grid.make_panel`.
    """
    shape = schema.shape
    if not isinstance(shape, SeriesShape):
        raise TypeError("the model is not one of series")
    _match(table.names, shape)
    check_keep(table, keep, output, pa.schema([]))
    readings = {each.name: each for each in shape.inputs}
    channels = [readings.get(name, Input(name=name, reading=NumberReading())) for name in shape.channels]
    others = [name for name in (shape.timestamp, shape.series) if name is not None]
    reader = CellReader(channels, CodeBook(), Markers(schema.missing_values))
    summary, batches = ScoreSummary(), list[Batch]()
    for batch in table.batches(reader, list(dict.fromkeys([*others, *keep]))):
        batches.append(batch)
        summary.note(batch)
        if on_batch:
            on_batch(summary)
    values = np.concatenate([np.empty((0, len(channels))), *(batch.rows for batch in batches)])
    faults = {i: fault for i, fault in enumerate(chain.from_iterable(b.faults for b in batches)) if fault is not None}
    values[list(faults)] = np.nan
    kept = pa.Table.from_batches(
        [batch.kept for batch in batches], schema=table.schema_of(list(dict.fromkeys([*others, *keep])))
    )
    markers = Markers((*schema.missing_values, *table.missing_values))
    seconds = names = None
    if shape.timestamp is not None:
        reading = readings[shape.timestamp].reading if shape.timestamp in readings else None
        seconds = seconds_of(shape.timestamp, cells_of(kept.column(shape.timestamp)), reading, markers)
    if shape.series is not None:
        names = names_of(shape.series, cells_of(kept.column(shape.series)), markers)
    panel = make_panel(values, seconds, names, step_seconds=shape.step_seconds, numbers=1 + np.arange(len(values)))
    return SeriesInput(
        shape=shape, panel=panel, faults=faults, kept=kept.select(list(keep)), seconds=seconds, names=names
    )


def _match(names: tuple[str, ...], shape: SeriesShape) -> None:
    """Raise InvalidInput if the table lacks a column of the model, and say what the column is for."""
    uses = {shape.timestamp: "the times of the rows", shape.series: "the names of the series"}
    for name, use in uses.items():
        if name is not None and name not in names:
            found = ", ".join(map(repr, names[:10]))
            raise InvalidInput(
                f"column {name!r} is missing: the model reads {use} from it; found {found}. Rename the column that "
                "holds them",
                field=name,
            )
    match_columns(names, series_names(shape))
