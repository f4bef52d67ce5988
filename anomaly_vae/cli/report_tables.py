"""Tables and sentences of ``evaluate`` and ``compare`` on the terminal, readable with 80 characters a line."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from anomaly_vae.assessment.promise import rate
from anomaly_vae.cli.reporting import printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from anomaly_vae.assessment.proportions import Proportion

__all__ = ["console", "counted", "heading", "note", "share", "shortened", "table"]

# Characters of a line, off a terminal.
_WIDTH = 100


def console() -> Console:
    """Return what prints on standard output."""
    from rich.console import Console

    return Console(highlight=False, width=None if sys.stdout.isatty() else _WIDTH)


def heading(to: Console, text: str) -> None:
    """Print an empty line and a heading."""
    from rich.text import Text

    to.print(Text(f"\n{printable(text)}", style="bold"))


def note(to: Console, text: str, style: str = "") -> None:
    """Print sentences; texts of the user's files may be among them."""
    from rich.text import Text

    to.print(Text(printable(text), style=style))


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, left: int = 1) -> Table:
    """Return a table; all columns but the first ``left`` ones hold numbers."""
    from rich.table import Table
    from rich.text import Text

    made = Table(*columns, box=None, header_style="dim", padding=(0, 2, 0, 0))
    for column in made.columns[left:]:
        column.justify = "right"
    for row in rows:
        made.add_row(*(Text(printable(cell)) for cell in row))
    return made


def share(found: Proportion | None) -> str:
    """Return a share with its interval, such as "1.2 % (0.8-1.7)"; "-" if there are no rows."""
    if found is None:
        return "-"
    return f"{rate(found.share)} ({_bare(found.low)}-{_bare(found.high)})"


def _bare(value: float) -> str:
    """Return percents with two digits, and never 1e+02."""
    return f"{100.0 * value:.2g}" if value < 0.995 else f"{100.0 * value:.3g}"


def counted(count: int, noun: str) -> str:
    """Return a number with its noun, such as "1 row" or "1,200 rows"."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def shortened(text: str, width: int) -> str:
    """Return a text of at most this many characters."""
    return text if len(text) <= width else f"{text[: width - 1]}…"
