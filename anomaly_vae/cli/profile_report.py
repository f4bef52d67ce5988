"""The profile of a table for people: a table on the terminal, and a page of HTML without any other file."""

from __future__ import annotations

import html
import sys
from collections.abc import Sequence
from typing import NamedTuple

from anomaly_vae.cli.profile_columns import ColumnProfile
from anomaly_vae.cli.reporting import printable

__all__ = ["Report", "as_html", "print_report"]

_WIDTH = 160  # characters, off a terminal
_BLOCKS = "▁▂▃▄▅▆▇█"
_BAR_WIDTH, _BAR_HEIGHT = 7, 28  # pixels

_STYLE = """
:root { color-scheme: light dark; --line: #8884; --bar: #4a7fb5; --out: #b3541e; }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 75rem; padding: 0 1rem; }
table { border-collapse: collapse; width: 100%; font-size: 14px; }
th, td { text-align: left; padding: .35rem .6rem; border-bottom: 1px solid var(--line); vertical-align: top; }
th { position: sticky; top: 0; background: Canvas; }
td.number { text-align: right; font-variant-numeric: tabular-nums; }
tr.out td { color: var(--out); }
svg rect { fill: var(--bar); }
pre { border: 1px solid var(--line); padding: 1rem; overflow-x: auto; font-size: 13px; }
.note { opacity: .8; }
"""


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
    rows = "".join(_html_row(each) for each in report.columns)
    notes = "".join(f'<p class="note">{_escape(note)}</p>' for note in report.notes)
    heads = "".join(
        f"<th>{head}</th>" for head in ("column", "kind", "missing", "different", "values", "", "what follows")
    )
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{_escape(report.title)}</title>'
        f"<style>{_STYLE}</style></head><body><h1>{_escape(report.title)}</h1>{notes}"
        f"<table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>"
        f"<h2>Configuration for <code>train --config</code></h2><pre>{_escape(report.toml)}</pre></body></html>\n"
    )


def _html_row(each: ColumnProfile) -> str:
    missing, distinct = _counts(each)
    is_out = ' class="out"' if each.kind == "left out" else ""
    return (
        f"<tr{is_out}><td>{_escape(each.name)}</td><td>{_escape(each.kind)}</td><td class='number'>{missing}</td>"
        f"<td class='number'>{distinct}</td><td>{_escape(each.values)}</td><td>{_svg(each)}</td>"
        f"<td>{_escape(each.text)}</td></tr>"
    )


def _svg(each: ColumnProfile) -> str:
    if not each.histogram:
        return ""
    most = max(each.histogram)
    heights = [_BAR_HEIGHT * count / most for count in each.histogram]
    bars = "".join(
        f'<rect x="{i * _BAR_WIDTH}" y="{_BAR_HEIGHT - height:.1f}" width="{_BAR_WIDTH - 1}" height="{height:.1f}"/>'
        for i, height in enumerate(heights)
    )
    width = _BAR_WIDTH * len(heights)
    return f'<svg width="{width}" height="{_BAR_HEIGHT}" role="img" aria-label="histogram">{bars}</svg>'


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


def _escape(text: str) -> str:
    return html.escape(_lines(text))


def _lines(text: str) -> str:
    """Return a text of several lines without characters that control a terminal."""
    return "\n".join(map(printable, text.split("\n")))
