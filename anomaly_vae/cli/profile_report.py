"""The profile of a table for people: a table on the terminal, and a page of HTML without any other file."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import NamedTuple

from anomaly_vae.cli.profile_columns import ColumnProfile
from anomaly_vae.cli.reporting import printable

__all__ = ["Report", "as_html", "print_report"]

_WIDTH = 160  # characters, off a terminal
_BLOCKS = "▁▂▃▄▅▆▇█"


class Report(NamedTuple):
    """What is shown.

    Attributes:
        path: The table.
        num_rows: Rows that can be used.
        notes: What was found out about the file, one sentence each.
        columns: Its columns.
        toml: A configuration for ``train``.
    """

    path: str
    num_rows: int
    notes: Sequence[str]
    columns: Sequence[ColumnProfile]
    toml: str

    @property
    def title(self) -> str:
        """The size of the table, and how many columns are used."""
        used = sum(each.kind != "left out" for each in self.columns)
        return f"{self.path}: {self.num_rows:,} rows, {len(self.columns)} columns, {used} of them used"


def print_report(report: Report) -> None:
    """Print the report on standard output."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("column", "kind", "missing", "different", "values", "", "what follows", box=None, header_style="bold")
    table.columns[2].justify = table.columns[3].justify = "right"
    for each in report.columns:
        style = "yellow" if each.kind == "left out" else ""
        cells = (each.name, each.kind, *_counts(each), each.values, _blocks(each.histogram), each.text)
        table.add_row(*(Text(printable(cell), style=style) for cell in cells))
    console = Console(width=None if sys.stdout.isatty() else _WIDTH)
    console.print(Text(printable(report.title), style="bold"))
    for note in report.notes:
        console.print(Text(printable(note)))
    console.print(table)
    console.print(Text("\nConfiguration for `train --config` (--toml FILE writes it):\n"))
    console.print(Text(_lines(report.toml)))


def as_html(report: Report) -> str:
    """Return the report as one page of HTML; every text of the table is escaped."""
    from anomaly_vae.pages.profile import ProfiledColumn, profile_page

    columns = [
        ProfiledColumn(
            name=each.name,
            kind=each.kind,
            text=each.text,
            values=each.values,
            missing=each.missing,
            distinct=each.distinct,
            histogram=each.histogram,
            is_left_out=each.kind == "left out",
        )
        for each in report.columns
    ]
    return profile_page(report.title, report.notes, columns, report.toml)


def _counts(each: ColumnProfile) -> tuple[str, str]:
    """Return the share of missing cells and the number of different values as text; empty if they are not known."""
    missing = "" if each.missing is None else "0" if each.missing == 0.0 else f"{100 * each.missing:.2g} %"
    return missing, "" if each.distinct is None else f"{each.distinct:,}"


def _blocks(histogram: Sequence[int]) -> str:
    """Return a histogram as one line of block characters; an empty part of the range is a space."""
    most = max(histogram, default=1)
    return "".join(
        " " if count == 0 else _BLOCKS[min(len(_BLOCKS) - 1, len(_BLOCKS) * count // most)] for count in histogram
    )


def _lines(text: str) -> str:
    """Return a text of several lines without characters that control a terminal."""
    return "\n".join(map(printable, text.split("\n")))
