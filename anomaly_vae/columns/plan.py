"""Plan what a model learns of each column of a table: what it holds, its kind, and which columns are left out."""

from __future__ import annotations

import difflib
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Literal, cast

import numpy as np
from numpy.typing import NDArray

from anomaly_vae.arrays import FloatArray
from anomaly_vae.columns.findings import Finding
from anomaly_vae.columns.kinds import check_modelled, infer_column, recode, too_many_texts
from anomaly_vae.columns.reading.recognise import Sample, decimal_of, recognise
from anomaly_vae.columns.reading.records import Decimal, Input, LeftOut, NumberReading, Part, TextReading, TimeReading
from anomaly_vae.columns.reading.times import PERIODS, learnable_parts, parts_of
from anomaly_vae.columns.schema import Column, Kind, Schema
from anomaly_vae.columns.training_table import TrainingTable
from anomaly_vae.errors import ConfigError, InvalidInput

__all__ = ["Wanted", "model_rows", "numbering_columns", "plan_columns", "plan_schema", "recognise_inputs"]

# What a user may set for a column: its kind, parts of a time, or that it is left out.
Wanted = Kind | Literal["datetime", "exclude"] | tuple[Part, ...]

# Columns of fewer rows are too short to tell numbers of rows from numbers that happen to grow. Chosen, not measured.
_LEAST_ROWS = 20

# A column that grows in every row, by one in at least this share of the rows, numbers the rows. Chosen, not measured:
# rows that were removed leave gaps.
_LEAST_STEPS_OF_ONE = 0.5

_BARE_KEY = re.compile(r"^[A-Za-z0-9_-]+$")

_NAME_OF_ID = re.compile(
    r"(?i:(^|[^a-z])(id|ids|uuid|guid|rowid|row_?num(ber)?|index)$)|[a-z](ID|Id|UUID)$"
    r"|^(__index_level_\d+__|Unnamed: \d+)$"  # the index that pandas writes to Parquet, and to CSV twice
)


def recognise_inputs(
    samples: Mapping[str, Sample], wanted: Mapping[str, Wanted], certain: Mapping[str, Decimal] | None = None
) -> tuple[tuple[Input, ...], tuple[Finding, ...]]:
    """Return how each column of a table is read, and what is worth saying about it.

    Args:
        samples: The type and the first cells of each column, by name.
        wanted: What the user set, by name.
        certain: The decimal marks that hold whatever the cells show, by the name of the column.

    Raises:
        ConfigError: ``wanted`` names an unknown column.
    """
    _check_wanted(wanted, tuple(samples))
    inputs, findings = [], []
    certain, shown = certain or {}, decimal_of(samples.values())
    for name, sample in samples.items():
        reading, note, can_be_numbers, taken_for = recognise(
            sample, wanted.get(name), certain.get(name, shown), is_certain=name in certain
        )
        inputs.append(Input(name=name, reading=reading))
        if wanted.get(name) == "exclude":
            continue  # the user knows
        if isinstance(reading, TimeReading) and _kind_of(wanted.get(name)) is not None:
            raise ConfigError(
                f"[columns] {name} = {wanted[name]!r}: the column holds dates and times; list the parts to learn, such "
                f'as {name} = ["time_of_day", "trend"]'
            )
        if isinstance(reading, LeftOut):
            findings.append(Finding(name, taken_for, f"{reading.why}: left out", True, _remedy(sample)))
        elif note is not None and not isinstance(reading, TimeReading):
            taken_for = "categories" if isinstance(reading, TextReading) else "numbers"
            remedy = f'to change that, set [columns] {_key(name)} = "continuous"' if can_be_numbers else ""
            findings.append(Finding(name, taken_for, note, remedy=remedy))
    return tuple(inputs), tuple(findings)


def numbering_columns(table: TrainingTable) -> list[Finding]:
    """Return a finding for each column that numbers or identifies the rows, rather than describing them."""
    found = []
    for d, each in enumerate(table.used_inputs):
        values = table.rows[:, d]
        if not isinstance(each.reading, NumberReading) or each.name in table.required or len(values) < _LEAST_ROWS:
            continue
        if not np.isfinite(values).all() or (values != np.floor(values)).any():
            continue
        with np.errstate(over="ignore"):
            steps = np.diff(values)
        if (steps > 0).all() and (steps == 1).mean() >= _LEAST_STEPS_OF_ONE:
            text = f"numbers the rows ({values[0]:.0f}, {values[1]:.0f}, {values[2]:.0f}, ...): left out"
            found.append(Finding(each.name, "row number", text, True, _keep(each.name)))
        elif _NAME_OF_ID.search(each.name) and len(np.unique(values)) == len(values):
            text = "holds a different whole number in every row and is named like an identifier: left out"
            found.append(Finding(each.name, "identifier", text, True, _keep(each.name)))
    return found


def _times_as_numbers(table: TrainingTable) -> list[Finding]:
    """Return a finding for each column of whole numbers that are times: every later row would be beyond training."""
    found = []
    for d, each in enumerate(table.used_inputs):
        values = table.rows[:, d]
        values = values[~np.isnan(values)]
        if not isinstance(each.reading, NumberReading) or each.name in table.required:
            continue
        if len(values) < _LEAST_ROWS or (values % 1 != 0).any():
            continue
        month, day = values // 100 % 100, values % 100
        is_date = (
            (values >= 19_000_101) & (values <= 21_001_231) & (month >= 1) & (month <= 12) & (day >= 1) & (day < 32)
        )
        low, high = values.min(), values.max()
        has_epoch = any(1e9 * unit <= low < high < 2.1e9 * unit for unit in (1, 1e3, 1e6))  # from 2001 to 2036
        if is_date.all() or (has_epoch and (np.diff(values) >= 0).all()):
            what = "dates" if is_date.all() else "times since 1970"
            text = f"holds whole numbers that seem to be {what} ({low:.0f} to {high:.0f}): left out"
            remedy = f"write times as 2024-01-31 13:45:00; {_keep(each.name)}"
            found.append(Finding(each.name, what, text, True, remedy))
    return found


def plan_schema(
    table: TrainingTable, fitting: NDArray[np.intp], wanted: Mapping[str, Wanted], label: str | None = None
) -> tuple[Schema, tuple[Finding, ...]]:
    """Return the columns of a model, and what the user should know about them.

    Args:
        table: The table to train on.
        fitting: Indices of the rows that decide: those that the model is fitted to.
        wanted: What the user set, by the name of the column.
        label: Name of the label column.

    Raises:
        InvalidInput: No column is left to model.
        ConfigError: A kind does not fit the values of its column.
    """
    inputs, columns, findings = plan_columns(table, fitting, wanted)
    if not columns:
        raise InvalidInput("no column is left to train on: " + "; ".join(map(str, findings)))
    check_modelled(columns, len(fitting))
    schema = Schema(
        columns=columns, label=label, inputs=inputs, missing_values=table.missing_values, encoding=table.encoding
    )
    return schema, findings


def plan_columns(
    table: TrainingTable, fitting: NDArray[np.intp], wanted: Mapping[str, Wanted]
) -> tuple[tuple[Input, ...], tuple[Column, ...], tuple[Finding, ...]]:
    """Return how each column of the table is used, the columns of the model, and the findings; perhaps no column.

    Args:
        table, fitting, wanted: As for :func:`plan_schema`.

    Raises:
        ConfigError: A kind does not fit the values of its column.
    """
    _check_wanted(wanted, tuple(each.name for each in table.inputs))
    findings = list(table.findings)
    if table.has_names:
        findings += [each for each in numbering_columns(table) if each.column not in wanted]
        findings += [each for each in _times_as_numbers(table) if each.column not in wanted]
    gone = {each.column: each for each in findings if each.is_left_out}
    inputs, columns = [], list[Column]()
    used = iter(range(len(table.used_inputs)))
    for each in table.inputs:
        cells = table.rows[fitting, next(used)] if each.is_read else None
        planned, finding = each, gone.get(each.name)
        if cells is not None and finding is None:
            planned, finding = _planned(each, cells, table)
        if finding is not None and finding.is_left_out:
            planned = Input(name=each.name, reading=LeftOut(why=finding.taken_for))  # no cell goes into the model
        if finding is not None and finding not in findings:
            findings.append(finding)
        if cells is not None and planned.is_read:
            columns.extend(_columns_of(planned, cells, table, wanted))
        inputs.append(planned)
    _check_parts(inputs)
    left_out = {each.column for each in findings if each.is_left_out}
    findings = [each for each in findings if each.is_left_out or each.column not in left_out]
    return tuple(inputs), tuple(columns), tuple(_in_order([*findings, *_constants(columns)], table))


def model_rows(schema: Schema, table: TrainingTable, cells: FloatArray) -> FloatArray:
    """Return the rows of the model (N, D) from cells (N, columns) of a table that it was planned for."""
    names = set(schema.names)
    used = [d for d, each in enumerate(table.used_inputs) if each.name in names]
    return recode(schema.expand(cells[:, used]), schema, table.categories)


def _planned(each: Input, cells: FloatArray, table: TrainingTable) -> tuple[Input, Finding | None]:
    """Return a column with the parts of its times chosen, and a finding if it is left out or if it is a time."""
    known = cells[~np.isnan(cells)]
    if not len(known):
        text = f"is empty in all {len(cells)} training rows: left out"
        return each, Finding(each.name, "empty", text, True)
    if isinstance(each.reading, TextReading):
        problem = too_many_texts(known, table.categories[each.name])
        found = Finding(each.name, "names or free text", f"{problem}: left out", True)
        return each, None if problem is None else found
    if not isinstance(each.reading, TimeReading):
        return each, None
    is_clock = each.reading.order == "clock"
    parts = each.reading.parts or learnable_parts(known, is_clock=is_clock)
    if not parts:
        text = f"holds {_span(known)}, too few days to learn times of day or days of the week: left out"
        remedy = f'to learn the trend itself, set [columns] {_key(each.name)} = ["trend"]'
        return each, Finding(each.name, "dates and times", text, True, remedy)
    reading = TimeReading(order=each.reading.order, zone=each.reading.zone, parts=parts)
    zone = f" in {reading.zone}" if reading.zone else ""
    text = f"holds dates and times: the model learns {_list(parts)}{zone}"
    if is_clock:
        text = "holds times of day"
    return Input(name=each.name, reading=reading), Finding(each.name, "dates and times", text)


def _columns_of(
    each: Input, cells: FloatArray, table: TrainingTable, wanted: Mapping[str, Wanted]
) -> tuple[Column, ...]:
    """Return the columns of the model that an input gives."""
    if isinstance(each.reading, TimeReading):
        parts = parts_of(cells, each.reading.parts)
        periods = [PERIODS.get(part) for part in each.reading.parts]
        return tuple(
            infer_column(name, parts[:, p], period=period)
            for p, (name, period) in enumerate(zip(each.columns, periods, strict=True))
        )
    kind = _kind_of(wanted.get(each.name))
    return (infer_column(each.name, cells, texts=table.categories.get(each.name), kind=kind),)


def _kind_of(wanted: Wanted | None) -> Kind | None:
    """Return the kind that the user set; None for parts of a time, and for what is no kind of numbers or texts."""
    return None if wanted in ("datetime", "exclude") or isinstance(wanted, tuple) else cast("Kind | None", wanted)


def _constants(columns: Sequence[Column]) -> list[Finding]:
    return [
        Finding(
            column.name,
            "constant",
            f"is always {column.value if column.value is not None else (column.categories or ('',))[0]!r}: not "
            "modelled, and a row with another value is flagged",
        )
        for column in columns
        if column.is_constant
    ]


def _in_order(findings: Sequence[Finding], table: TrainingTable) -> list[Finding]:
    place = {each.name: d for d, each in enumerate(table.inputs)}
    return sorted(findings, key=lambda each: place.get(each.column, -1))


def _check_parts(inputs: Sequence[Input]) -> None:
    """Raise InvalidInput if a column has the name of a part of a time."""
    counts = Counter(name for each in inputs for name in each.columns)
    for each in inputs:
        for name in each.columns:
            if counts[name] > 1:
                raise InvalidInput(
                    f"column {name!r} has the name of a part that the model learns of column {each.name!r}; rename it",
                    field=name,
                )


def _check_wanted(wanted: Mapping[str, Wanted], names: tuple[str, ...]) -> None:
    for name in wanted:
        if name not in names:
            close = difflib.get_close_matches(name, names, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"the columns are {', '.join(names[:10])}"
            raise ConfigError(f"[columns] {name}: there is no such column; {hint}")


def _remedy(sample: Sample) -> str:
    if sample.form == "unusable":
        return "write one column of numbers or texts for each part that matters"
    return ""


def _keep(name: str) -> str:
    return f'to train on it, name it in --columns, or set [columns] {_key(name)} = "integer"'


def _key(name: str) -> str:
    """Return a name as a key of TOML, whose basic strings are those of JSON."""
    return name if _BARE_KEY.match(name) else json.dumps(name, ensure_ascii=False)


def _list(parts: Sequence[Part]) -> str:
    words = [part.replace("_", " ") for part in parts]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _span(wall: FloatArray) -> str:
    first, last = (str(np.datetime64(int(moment), "us").astype("datetime64[s]")) for moment in (wall.min(), wall.max()))
    span = f"times from {first} to {last}" if first != last else f"one time, {first}"
    return span.replace("T", " ")
