"""Read a table to train on: which of its columns are used, how they are read, and its rows by label."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from anomaly_vae.arrays import FloatArray
from anomaly_vae.cli.labelled_rows import check_label, read_normal_rows
from anomaly_vae.cli.reporting import warn
from anomaly_vae.columns.findings import Finding
from anomaly_vae.columns.plan import recognise_inputs
from anomaly_vae.columns.reading.cells import CellReader
from anomaly_vae.columns.reading.codes import CodeBook
from anomaly_vae.columns.reading.missing import Markers
from anomaly_vae.columns.reading.recognise import Sample
from anomaly_vae.columns.reading.records import Input, LeftOut
from anomaly_vae.columns.rows import check_names
from anomaly_vae.columns.training_table import TrainingTable, sort_categories
from anomaly_vae.errors import InvalidInput
from anomaly_vae.table import Table
from anomaly_vae.training.config import TrainConfig

__all__ = ["Selection", "TrainingInput", "read_training_input"]


# Marks that separate the cells of a table: a run of them between two words or numbers.
_SEPARATORS = re.compile(r"\S[,;|\t ]+\S.*\S[,;|\t ]+\S")


class Selection(NamedTuple):
    """The columns that the user chose.

    Attributes:
        columns: Columns to train on; empty for all.
        exclude: Columns to leave out.
        label: The label column.
    """

    columns: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    label: str | None = None


class TrainingInput(NamedTuple):
    """A table to train on.

    Attributes:
        table: Its normal rows.
        anomalous: The cells of the rows marked as anomalies, shape (N, columns).
    """

    table: TrainingTable
    anomalous: FloatArray


def read_training_input(
    table: Table, config: TrainConfig, selection: Selection | None = None, *, quiet: bool
) -> TrainingInput:
    """Read a table to train on.

    Args:
        table: The input.
        config: The parameters columns and missing_values are used.
        selection: The columns that the user chose.
        quiet: Show no progress bar.

    Raises:
        InvalidInput: A chosen column does not exist, or the table cannot be used; the message names every fault.
    """
    selection = selection or Selection()
    label, markers = selection.label, Markers(config.missing_values)
    names, unnamed = _choose(table.names, selection)
    check_label(table, names, label)
    samples = table.samples([*names, *([] if label is None else [label])], markers)
    samples.pop(label or "", None)
    _warn_of_one_column(table, samples)
    wanted = {name: kind for name, kind in config.columns.items() if name in names or name not in table.names}
    inputs, findings = recognise_inputs(samples, wanted, table.source.certain_decimals)
    used = [each for each in inputs if each.is_read]
    if not used:
        raise InvalidInput("no column is left to train on: " + "; ".join(map(str, findings)))
    book = CodeBook(grows=True)
    rows = read_normal_rows(table, CellReader(used, book, markers), label, quiet=quiet)
    if not len(rows.normal):
        what = "rows" if label is None else f"rows with 0 in {label}"
        raise InvalidInput(f"{table.source.where}: holds no {what} to train on")
    categories = sort_categories([rows.normal, rows.anomalous], [each.name for each in used], book.categories)
    by_name = {each.name: each for each in inputs}
    everything = [by_name.get(name) or _not_chosen(name, selection) for name in table.names if name not in (label, "")]
    found = TrainingTable(
        inputs=tuple(everything),
        rows=rows.normal,
        categories=categories,
        findings=(*unnamed, *findings),
        missing_values=config.missing_values,
        encoding=table.source.encoding,
        required=frozenset(selection.columns),
    )
    return TrainingInput(found, rows.anomalous)


def _warn_of_one_column(table: Table, samples: Mapping[str, Sample]) -> None:
    """Warn if the only column of a text file holds the cells of several."""
    if len(table.names) > 1 or not table.source.is_text:
        return
    texts = next(iter(samples.values())).texts
    if texts and sum(1 for text in texts if _SEPARATORS.search(text)) > len(texts) / 2:
        example = next(text for text in texts if _SEPARATORS.search(text))[:40]
        warn(
            f"{table.source.where}: one column, {table.names[0][:40]!r}, with cells such as {example!r}; the first "
            "line must be the header (remove lines before it), and --sep names the character between cells"
        )


def _choose(found: tuple[str, ...], selection: Selection) -> tuple[tuple[str, ...], list[Finding]]:
    """Return the columns to train on, in the order of the table, and findings about columns without a name."""
    for option, names in (("--columns", selection.columns), ("--exclude", selection.exclude)):
        for name in names:
            if name not in found:
                known = ", ".join(filter(None, found[:10]))
                raise InvalidInput(f"{option} {name}: the input has no such column; it has {known}")
    unnamed = [
        Finding("", "index" if d == 0 else "no name", f"number {d + 1} has no name: left out", True, _NAME_IT)
        for d, name in enumerate(found)
        if not name
    ]
    chosen = tuple(
        name
        for name in found
        if name
        and name not in selection.exclude
        and name != selection.label
        and (not selection.columns or name in selection.columns)
    )
    if not chosen:
        raise InvalidInput("no column is left to train on")
    check_names(chosen)
    numbers = [name for name in chosen if _is_number(name)]
    are_years = len(numbers) < len(chosen) and all(map(str.isdigit, numbers))  # country, 2019, 2020, ... is a header
    if 2 * len(numbers) >= len(chosen) and not are_years:
        shown = f"{', '.join(numbers[:3])}{', ...' if len(numbers) > 3 else ''}"
        warn(f"{len(numbers)} of {len(chosen)} column names are numbers ({shown}); the first line must be a header")
    return chosen, unnamed


_NAME_IT = "to train on it, give it a name in the header"


def _not_chosen(name: str, selection: Selection) -> Input:
    why = "excluded by --exclude" if name in selection.exclude else "not named in --columns"
    return Input(name=name, reading=LeftOut(why=why))


def _is_number(name: str) -> bool:
    try:
        float(name)
    except ValueError:
        return False
    return True
