"""Arrays and DataFrames with time series: which columns are times, names of series and channels, and their rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from anomaly_vae.columns.reading.cells import CellReader
from anomaly_vae.columns.reading.codes import CodeBook
from anomaly_vae.columns.reading.frames import Cells, cells_of, sample_of
from anomaly_vae.columns.reading.missing import Markers
from anomaly_vae.columns.reading.recognise import decimal_of, recognise
from anomaly_vae.columns.reading.records import (
    Decimal,
    Input,
    LeftOut,
    NumberReading,
    Reading,
    TextReading,
    TimeReading,
)
from anomaly_vae.columns.rows import (
    check_not_infinite,
    collected,
    column_names,
    match_columns,
    named_columns,
    read_columns,
)
from anomaly_vae.columns.shapes import SeriesShape
from anomaly_vae.errors import InvalidInput
from anomaly_vae.series.cells import names_of, numbers_of_texts, seconds_of, whole_or_real
from anomaly_vae.series.grid import Panel, make_panel

__all__ = ["Roles", "TrainingPanel", "find_roles", "to_panel", "to_training_panel"]

# Names of columns of large numbers that are times. Other numbers since 1970 must be named by the user.
_TIME_NAMES = frozenset({"timestamp", "time", "ts", "datetime", "date", "epoch"})

# Numbers from here on can be seconds since 1970: this is 1973.
_FIRST_EPOCH = 1e8


class Roles(NamedTuple):
    """What the columns of a table are.

    Attributes:
        timestamp: The column with the times; None without.
        series: The column with the names of the series; None without.
        channels: The columns with the values, in the order of the table.
    """

    timestamp: str | None
    series: str | None
    channels: tuple[str, ...]


class TrainingPanel(NamedTuple):
    """Series to train on.

    Attributes:
        panel: The series.
        roles: The columns.
        inputs: How the columns are read, in the order of the table; empty for an array.
    """

    panel: Panel
    roles: Roles
    inputs: tuple[Input, ...]

    def shape(self, length: int, stride: int = 1) -> SeriesShape:
        """Return the shape of windows of ``length`` steps."""
        return SeriesShape(
            length=length,
            channels=self.roles.channels,
            stride=stride,
            step_seconds=self.panel.step_seconds,
            timestamp=self.roles.timestamp,
            series=self.roles.series,
            inputs=self.inputs,
        )


def to_panel(
    data: Any, shape: SeriesShape, missing_values: Sequence[str] = (), numbers: NDArray[np.integer] | None = None
) -> Panel:
    """Return the series in data to score.

    Args:
        data: An array (T,) or (T, C) with one step per row, for a model without times and names of series, or a table
            with named columns in any order: those of ``shape``. Further columns are ignored.
        shape: The shape of the model.
        missing_values: Markers of missing cells beside the usual ones.
        numbers: The number of each row in messages, shape (N,); None to count from 0.

    Raises:
        InvalidInput: A column is missing or cannot be read, or the times cannot be used: see
            :func:`~.grid.make_panel`.
    """
    data = collected(data)
    names = column_names(data)
    if names is None:
        return _array_panel(data, shape, missing_values)
    roles = Roles(shape.timestamp, shape.series, shape.channels)
    match_columns(names, tuple(name for name in (roles.timestamp, roles.series) if name is not None) + roles.channels)
    readings = {each.name: each for each in shape.inputs}
    inputs = {name: readings.get(name, Input(name=name, reading=NumberReading())) for name in roles.channels}
    times = readings[roles.timestamp].reading if roles.timestamp in readings else None
    return _panel(data, roles, inputs, times, missing_values, shape.step_seconds, numbers)


def to_training_panel(
    data: Any,
    *,
    timestamp: str | None = None,
    series: str | None = None,
    leave_out: Sequence[str] = (),
    missing_values: Sequence[str] = (),
    numbers: NDArray[np.integer] | None = None,
    decimals: Mapping[str, Decimal] | None = None,
) -> TrainingPanel:
    """Return the series in data to train on.

    Args:
        data: As for :func:`to_panel`; the channels of an array are called x0, x1 and so on.
        timestamp: The column with the times; None for the only column of dates and times, if there is one.
        series: The column with the names of the series; None if all rows are one series.
        leave_out: Columns that are not used.
        missing_values, numbers: As for :func:`to_panel`.
        decimals: The decimal marks of columns of texts that hold whatever the cells show, by name.

    Raises:
        InvalidInput: As for :func:`to_panel`, or a column is neither of them and holds no numbers.
    """
    data = collected(data)
    names = column_names(data)
    if names is None:
        values = _matrix(data)
        channels = tuple(f"x{c}" for c in range(values.shape[1]))
        panel = _array_panel(values, SeriesShape(length=2, channels=channels), missing_values)
        return TrainingPanel(panel, Roles(None, None, channels), ())
    match_columns(names, names)
    for option, name in (("timestamp", timestamp), ("series", series), *(("leave_out", name) for name in leave_out)):
        if name is not None and name not in names:
            raise InvalidInput(
                f"{option}: there is no column {name!r}; the columns are {', '.join(map(repr, names))}", field=name
            )
    used = tuple(name for name in names if name not in leave_out)
    markers = Markers(missing_values)
    cells = {name: cells_of(column) for name, column in zip(used, named_columns(data, used), strict=True)}
    inputs = _inputs(cells, markers, series, decimals or {})
    roles = find_roles(inputs, cells, timestamp, series)
    times = inputs[roles.timestamp].reading if roles.timestamp is not None else None
    panel = _panel(data, roles, inputs, times, missing_values, None, numbers)
    return TrainingPanel(panel, roles, tuple(inputs.values()))


def find_roles(
    inputs: Mapping[str, Input], cells: Mapping[str, Cells], timestamp: str | None, series: str | None
) -> Roles:
    """Return what the columns of a table are; the arguments are as for :func:`to_training_panel`.

    Raises:
        InvalidInput: A column can be none of them.
    """
    if timestamp is None:
        timestamp = _only_time(inputs, cells)
    channels = []
    for name, each in inputs.items():
        if name in (timestamp, series):
            continue
        if not isinstance(each.reading, NumberReading):
            raise _no_channel(name, each)
        channels.append(name)
    if not channels:
        raise InvalidInput("the table has no column of numbers beside the times and the names of the series")
    return Roles(timestamp, series, tuple(channels))


def _only_time(inputs: Mapping[str, Input], cells: Mapping[str, Cells]) -> str | None:
    """Return the only column of dates and times; without one, a column of large numbers with the name of one."""
    found = [n for n, each in inputs.items() if isinstance(each.reading, TimeReading) and each.reading.order != "clock"]
    if len(found) > 1:
        raise InvalidInput(
            f"columns {', '.join(map(repr, found))} hold dates and times; name the one with the times of the rows "
            "(timestamp), and leave the others out",
            field=found[1],
        )
    if found:
        return found[0]
    for name, each in cells.items():
        if name.lower() not in _TIME_NAMES:
            continue
        numbers = whole_or_real(each)
        if numbers is None:
            numbers = numbers_of_texts(each, Markers(()))
        if numbers is not None:
            known = numbers[~np.isnan(numbers)]
            if len(known) and known.min() >= _FIRST_EPOCH:
                return name
    return None


def _no_channel(name: str, each: Input) -> InvalidInput:
    reading = each.reading
    if isinstance(reading, TextReading):
        found, remedy = (
            "holds text",
            f"if it names the series of each row, use it as that (series={name!r}); otherwise ",
        )
    elif isinstance(reading, TimeReading):
        found, remedy = (
            "holds dates and times",
            f"if these are the times of the rows, say timestamp={name!r}; otherwise ",
        )
    else:
        found, remedy = reading.why if isinstance(reading, LeftOut) else "cannot be used", ""
    return InvalidInput(f"column {name!r} {found}, channels of series are numbers; {remedy}leave it out", field=name)


def _inputs(
    cells: Mapping[str, Cells], markers: Markers, series: str | None, certain: Mapping[str, Decimal]
) -> dict[str, Input]:
    """Return how each column is read; texts of numbers have one decimal mark in all columns that leave it open."""
    samples = {name: sample_of(each, markers) for name, each in cells.items() if name != series}
    shown = decimal_of(samples.values())
    found = {
        name: recognise(sample, None, certain.get(name, shown), is_certain=name in certain).reading
        for name, sample in samples.items()
    }
    return {name: Input(name=name, reading=found.get(name, TextReading())) for name in cells}


def _panel(
    data: Any,
    roles: Roles,
    inputs: Mapping[str, Input],
    times: Reading | None,
    missing_values: Sequence[str],
    step_seconds: float | None,
    numbers: NDArray[np.integer] | None,
) -> Panel:
    """Read the columns of a table, and return its series."""
    markers = Markers(missing_values)
    reader = CellReader([inputs[name] for name in roles.channels], CodeBook(grows=True), markers)
    values = read_columns(reader, [cells_of(column) for column in named_columns(data, roles.channels)], numbers)
    check_not_infinite(values, roles.channels, numbers)
    seconds = names = None
    if roles.timestamp is not None:
        (column,) = named_columns(data, (roles.timestamp,))
        seconds = seconds_of(roles.timestamp, cells_of(column), times, markers)
    if roles.series is not None:
        (column,) = named_columns(data, (roles.series,))
        names = names_of(roles.series, cells_of(column), markers)
    return make_panel(values, seconds, names, step_seconds=step_seconds, numbers=numbers)


def _array_panel(data: Any, shape: SeriesShape, missing_values: Sequence[str]) -> Panel:
    for name, what in ((shape.timestamp, "times"), (shape.series, "names of series")):
        if name is not None:
            raise InvalidInput(
                f"the model reads {what} from column {name!r}, an array has no names; give a table", field=name
            )
    values = _matrix(data)
    if values.shape[1] != len(shape.channels):
        raise InvalidInput(
            f"the array has {values.shape[1]} channels, expected {len(shape.channels)}: "
            f"{', '.join(map(repr, shape.channels))}"
        )
    check_not_infinite(values, shape.channels)
    return make_panel(Markers(missing_values).without(values))


def _matrix(data: Any) -> NDArray[np.float64]:
    """Return an array (T,) or (T, C) as (T, C)."""
    array = data.filled(np.nan) if np.ma.isMaskedArray(data) and data.dtype.kind == "f" else np.asarray(data)
    if array.ndim not in (1, 2) or (array.ndim == 2 and array.shape[1] == 0):
        raise InvalidInput(f"expected an array (steps,) or (steps, channels), got shape {array.shape}")
    if array.dtype.kind not in "fiubO":
        raise InvalidInput(f"the array holds {array.dtype} values, expected numbers")
    try:
        values = array.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"the array holds a value that is no number: {error}") from error
    return values[:, None] if values.ndim == 1 else values
