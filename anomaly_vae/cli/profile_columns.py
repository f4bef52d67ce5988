"""What a table holds, column by column, and what ``train`` would do with it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from anomaly_vae.arrays import FloatArray
from anomaly_vae.cli.reporting import printable
from anomaly_vae.columns.findings import Finding
from anomaly_vae.columns.plan import plan_columns
from anomaly_vae.columns.reading.records import Input, TextReading, TimeReading
from anomaly_vae.columns.schema import Column
from anomaly_vae.columns.split import split_of
from anomaly_vae.columns.training_table import TrainingTable
from anomaly_vae.training.config import TrainConfig

__all__ = ["ColumnProfile", "profile_columns", "toml_of"]

# Bars of a histogram, and categories that are listed. Chosen, not measured: they fit a line of a terminal.
_BARS, _TOP = 16, 3

# Fewer rows are not split: all of them show what a column holds.
_LEAST_ROWS = 10

_USE = "# anomaly-vae train INPUT -o MODEL --config THIS_FILE"
_BARE_KEY = re.compile(r"^[A-Za-z0-9_-]+$")


class ColumnProfile(NamedTuple):
    """One column of a table.

    Attributes:
        name: Its name.
        kind: What ``train`` takes it for, such as "integer"; parts of a time, or "left out".
        text: What was found, and what ``train`` would do with it.
        missing: Share of the cells that are missing, 0 to 1; None if the cells were not read.
        distinct: Number of different values; None if the cells were not read.
        values: The range of numbers and times, or the most frequent categories.
        histogram: Counts of the values in equal parts of the range, or of the most frequent categories.
        setting: The value in the [columns] table of a configuration; None if it needs none.
    """

    name: str
    kind: str
    text: str
    missing: float | None = None
    distinct: int | None = None
    values: str = ""
    histogram: tuple[int, ...] = ()
    setting: str | tuple[str, ...] | None = None


def profile_columns(table: TrainingTable, config: TrainConfig) -> tuple[ColumnProfile, ...]:
    """Return the profile of every column of a table, in the order of the table.

    Args:
        table: The table.
        config: The parameters columns and random_state are used: they decide what ``train`` would do.
    """
    num_rows = len(table.rows)
    fitting = np.arange(num_rows)
    if num_rows >= _LEAST_ROWS:
        split = split_of(num_rows, config.random_state or 0)
        fitting = np.concatenate([split.train, split.held_out])
    inputs, columns, findings = plan_columns(table, fitting, config.columns)
    by_name, found = {column.name: column for column in columns}, {each.column: each for each in findings}
    profiles = [_unnamed(each) for each in findings if not each.column]
    place = {each.name: d for d, each in enumerate(table.used_inputs)}
    for read, planned in zip(table.inputs, inputs, strict=True):
        cells = table.rows[:, place[read.name]] if read.is_read else None
        kinds = [by_name[name] for name in planned.columns]
        profiles.append(_profile(read, planned, kinds, cells, found.get(read.name), table.categories))
    return tuple(profiles)


def toml_of(profiles: Sequence[ColumnProfile], config: TrainConfig, path: str) -> str:
    """Return a configuration for ``train --config`` that says what ``train`` would find out by itself.

    Args:
        profiles: The columns.
        config: Its markers of missing cells are written too.
        path: The table, for a comment.
    """
    lines = [f"# What anomaly-vae found in {_toml(path)}. Change what is wrong, then:", _USE]
    if config.missing_values:
        lines.append(f"missing_values = {_toml(tuple(config.missing_values))}")
    lines += ["", "[columns]"]
    for each in profiles:
        key = each.name if _BARE_KEY.match(each.name) else _toml(each.name)
        comment = printable(each.text)
        if each.setting is None:
            lines.append(f"# {printable(key)}: {comment}")
        else:
            lines.append(f"{key} = {_toml(each.setting)}" + (f"  # {comment}" if each.setting == "exclude" else ""))
    return "\n".join(lines) + "\n"


def _unnamed(finding: Finding) -> ColumnProfile:
    return ColumnProfile(name="(no name)", kind="left out", text=finding.text)


def _profile(
    read: Input,
    planned: Input,
    columns: Sequence[Column],
    cells: FloatArray | None,
    finding: Finding | None,
    categories: Mapping[str, tuple[str, ...]],
) -> ColumnProfile:
    kind, setting = _kind(planned, columns)
    text = finding.text if finding is not None else ("left out" if not planned.is_read else "modelled")
    if cells is None:
        return ColumnProfile(name=read.name, kind=kind, text=text, setting=setting)
    known = cells[~np.isnan(cells)]
    missing = 1.0 - len(known) / len(cells) if len(cells) else 0.0
    distinct, values, histogram = _statistics(read, known, categories.get(read.name, ()))
    return ColumnProfile(read.name, kind, text, missing, distinct, values, histogram, setting)


def _kind(planned: Input, columns: Sequence[Column]) -> tuple[str, str | tuple[str, ...] | None]:
    """Return what a column is taken for, in words, and the setting that says so."""
    if not planned.is_read:
        return "left out", "exclude"
    if isinstance(planned.reading, TimeReading):
        return ", ".join(part.replace("_", " ") for part in planned.reading.parts), planned.reading.parts
    (column,) = columns
    return column.kind, None if column.kind == "constant" else column.kind


def _statistics(read: Input, known: FloatArray, texts: tuple[str, ...]) -> tuple[int, str, tuple[int, ...]]:
    """Return the number of different values, the range or the most frequent values, and the counts."""
    if not len(known):
        return 0, "", ()
    if isinstance(read.reading, TextReading):
        counts = np.bincount(known.astype(np.int64), minlength=len(texts))
        top = np.argsort(-counts, kind="stable")[:_BARS]
        shown = ", ".join(f"{printable(texts[i])[:20]} ({counts[i]:,})" for i in top[:_TOP])
        return int((counts > 0).sum()), shown, tuple(counts[top][counts[top] > 0].tolist())
    distinct = len(np.unique(known))
    low, high = float(known.min()), float(known.max())
    span = (low, high) if low < high else (low - 0.5, high + 0.5)
    counts = np.histogram(known, bins=min(_BARS, max(distinct, 2)), range=span)[0]
    return distinct, f"{_shown(low, read)} to {_shown(high, read)}", tuple(counts.tolist())


def _shown(value: float, read: Input) -> str:
    if not isinstance(read.reading, TimeReading):
        return f"{value:.6g}"
    moment = str(np.datetime64(int(value), "us").astype("datetime64[s]")).replace("T", " ")
    return moment[11:] if read.reading.order == "clock" else moment.removesuffix(" 00:00:00")


def _toml(value: str | tuple[str, ...]) -> str:
    """Return a value in TOML, whose basic strings and arrays are those of JSON."""
    text = json.dumps(value if isinstance(value, str) else list(value), ensure_ascii=False)
    return text.replace("\x7f", "\\u007f")  # the one character that JSON allows and TOML does not
