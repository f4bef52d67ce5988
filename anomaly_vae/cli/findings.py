"""Show what training found out about the columns of a table."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import click

from anomaly_vae.cli.reporting import printable
from anomaly_vae.columns.findings import Finding
from anomaly_vae.errors import InvalidInput

__all__ = ["as_json", "refuse_left_out", "show_findings"]

# Lines about columns that are used, off a terminal. Chosen, not measured: a log is not the place for long tables.
_MOST_LINES = 20


def show_findings(findings: Sequence[Finding], *, quiet: bool) -> None:
    """Print one line for each column on standard error, as a table on a terminal; if ``quiet``, only what is left out.

    A text that came with the table is shown as it is: it cannot be markup.
    """
    shown = [each for each in findings if each.is_left_out or not quiet]
    if not shown:
        return
    if sys.stderr.isatty():
        _show_table(shown)
        return
    left_out = [each for each in shown if each.is_left_out]
    used = [each for each in shown if not each.is_left_out]
    for each in [*left_out, *used[:_MOST_LINES]]:
        click.echo(f"anomaly-vae: {printable(str(each))}", err=True)
    if len(used) > _MOST_LINES:
        click.echo(f"anomaly-vae: and {len(used) - _MOST_LINES} more; `anomaly-vae profile` shows all", err=True)


def refuse_left_out(findings: Sequence[Finding], required: frozenset[str] | None) -> None:
    """Raise InvalidInput that names every column that is left out.

    Args:
        findings: What was found.
        required: The columns that must not be left out; None for all.
    """
    left_out = [each for each in findings if each.is_left_out and (required is None or each.column in required)]
    if left_out:
        how = "--strict" if required is None else "--columns"
        raise InvalidInput(
            f"{len(left_out)} column{'s' if len(left_out) > 1 else ''} cannot be used ({how}): "
            + "; ".join(map(str, left_out)),
            field=left_out[0].column or None,
        )


def as_json(findings: Sequence[Finding]) -> list[dict[str, Any]]:
    """Return the findings as plain values."""
    return [each._asdict() for each in findings]


def _show_table(findings: Sequence[Finding]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("column", "taken for", "what follows", box=None, header_style="bold")
    for each in findings:
        remedy = f"; {each.remedy}" if each.remedy else ""
        style = "yellow" if each.is_left_out else ""
        cells = (each.column, each.taken_for, each.text + remedy)
        table.add_row(*(Text(printable(cell), style=style) for cell in cells))
    Console(file=sys.stderr).print(table)
