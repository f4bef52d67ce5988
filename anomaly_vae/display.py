"""A few rows of a table of results as plain text, as HTML for notebooks, and for rich."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["as_html", "as_rich", "as_text"]

# Rows shown at each end of a longer table. Chosen, not measured: with the title they fit a terminal of 24 lines.
_ENDS = 5

# The most characters of a line of plain text, and of a text in HTML and rich. Chosen, not measured.
_LINE_CHARACTERS = 100
_TEXT_CHARACTERS = 200

Columns = Mapping[str, Sequence[Any]]


def as_text(title: str, columns: Columns) -> str:
    """Return the title and the table in aligned lines of at most 100 characters.

    Args:
        title: The first line.
        columns: Values by name, all of one length. None, numpy values and texts are printed, texts on the left.
    """
    names, rows = _cells(columns)
    if not rows:
        return title
    is_text = [False, *(_is_text(values) for values in columns.values())]
    lines = [("", *names), *rows]
    widths = [max(len(line[c]) for line in lines) for c in range(len(lines[0]))]
    return "\n".join([_shortened(title, _LINE_CHARACTERS), *(_aligned(line, widths, is_text) for line in lines)])


def as_html(title: str, columns: Columns) -> str:
    """Return the title and the table as HTML in which every text is escaped. The arguments are those of ``as_text``."""
    names, rows = _cells(columns)
    head = "".join(f"<th>{html.escape(name)}</th>" for name in ("", *names))
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(_shortened(cell, _TEXT_CHARACTERS))}</td>" for cell in row) + "</tr>"
        for row in rows
    )
    return f"<div><p>{html.escape(title)}</p><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"


def as_rich(title: str, columns: Columns) -> Table:
    """Return a table for rich, in which no text is read as markup. The arguments are those of ``as_text``."""
    from rich.table import Table
    from rich.text import Text

    _, rows = _cells(columns)
    table = Table(title=Text(title), title_justify="left")
    table.add_column("")
    for name, values in columns.items():
        table.add_column(Text(name), justify="left" if _is_text(values) else "right")
    for row in rows:
        table.add_row(*(Text(_shortened(cell, _TEXT_CHARACTERS)) for cell in row))
    return table


def _cells(columns: Columns) -> tuple[list[str], list[tuple[str, ...]]]:
    """Return the names of the columns and the shown rows as texts: number and cells. Dots stand for other rows."""
    num_rows = len(next(iter(columns.values())))
    if num_rows <= 2 * _ENDS:
        return list(columns), list(_texts(columns, range(num_rows)))
    dots = ("..",) * (1 + len(columns))
    first, last = range(_ENDS), range(num_rows - _ENDS, num_rows)
    return list(columns), [*_texts(columns, first), dots, *_texts(columns, last)]


def _texts(columns: Columns, rows: Iterable[int]) -> Iterable[tuple[str, ...]]:
    for i in rows:
        yield (str(i), *(_text(values[i]) for values in columns.values()))


def _text(value: Any) -> str:
    """Return one line without characters that could move a terminal's cursor: texts repeat cells of strangers."""
    if value is None:
        return ""
    if isinstance(value, float):  # numpy's float64 as well
        return f"{value:.4f}" if value == 0 or 1e-4 <= abs(value) < 1e6 else f"{value:.3g}"
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(value))


def _is_text(values: Sequence[Any]) -> bool:
    return isinstance(values, list)  # of texts and None; numbers are arrays


def _aligned(cells: Sequence[str], widths: Sequence[int], is_text: Sequence[bool]) -> str:
    parts = [
        cell.ljust(width) if left else cell.rjust(width)
        for cell, width, left in zip(cells, widths, is_text, strict=True)
    ]
    return _shortened("  ".join(parts).rstrip(), _LINE_CHARACTERS)


def _shortened(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 3]}..."
