"""The profile of a table as a page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from markupsafe import Markup

from anomaly_vae.pages.environment import render
from anomaly_vae.pages.histogram import small_histogram
from anomaly_vae.pages.texts import share

__all__ = ["ProfiledColumn", "profile_page"]


class ProfiledColumn(NamedTuple):
    """One column.

    Attributes:
        name, kind, text, values: As :class:`anomaly_vae.cli.profile_columns.ColumnProfile` has them.
        missing: Share of the cells that are missing, 0 to 1; None if the cells were not read.
        distinct: Number of different values; None if the cells were not read.
        histogram: Counts of the values.
        is_left_out: Whether ``train`` would do without the column.
    """

    name: str
    kind: str
    text: str
    values: str
    missing: float | None
    distinct: int | None
    histogram: Sequence[int]
    is_left_out: bool


class _Shown(NamedTuple):
    name: str
    kind: str
    text: str
    values: str
    missing: str
    distinct: str
    histogram: Markup
    is_left_out: bool


def profile_page(title: str, notes: Sequence[str], columns: Sequence[ProfiledColumn], toml: str) -> str:
    """Return the page.

    Args:
        title: The size of the table.
        notes: What was found out about the file, one sentence each.
        columns: The columns.
        toml: A configuration for ``train``.
    """
    shown = [
        _Shown(
            each.name,
            each.kind,
            each.text,
            each.values,
            "" if each.missing is None else share(each.missing, 2) if each.missing else "0",
            "" if each.distinct is None else f"{each.distinct:,}",
            small_histogram(each.histogram),
            each.is_left_out,
        )
        for each in columns
    ]
    return render("profile.html", title=title, notes=notes, columns=shown, toml=toml)
