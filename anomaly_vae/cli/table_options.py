"""The options that say how a table is read, and what to say about it."""

from __future__ import annotations

import codecs
import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from anomaly_vae.cli.options import Names
from anomaly_vae.cli.reporting import warn
from anomaly_vae.errors import ConfigError

if TYPE_CHECKING:
    from anomaly_vae.columns.reading.options import ReadOptions
    from anomaly_vae.columns.schema import Schema
    from anomaly_vae.table import Table

__all__ = ["filter_facts", "missing_values", "read_options", "refuse_filter", "say_how_it_was_read"]

_SEPARATORS = {"tab": "\t", "\\t": "\t", "comma": ",", "semicolon": ";", "space": " ", "pipe": "|"}


class _Separator(click.ParamType[str]):
    name = "character"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Take a character or its name."""
        mark = _SEPARATORS.get(str(value).lower(), str(value))
        if len(mark) != 1 or mark in '"\r\n':
            self.fail(f"{value!r} is not a character such as ; or tab", param, ctx)
        return mark


class _Encoding(click.ParamType[str]):
    name = "encoding"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Take the name of an encoding that Python knows."""
        try:
            return codecs.lookup(str(value)).name
        except LookupError:
            self.fail(f"{value!r} is not an encoding such as utf-8, latin-1 or utf-16", param, ctx)


_OPTIONS = (
    click.option("--sep", type=_Separator(), help="Character between cells of a CSV file, or tab.  [default: found]"),
    click.option("--decimal", type=click.Choice([".", ","]), help="Decimal mark of a text file.  [default: found]"),
    click.option(
        "--encoding", type=_Encoding(), help="Encoding of a text file, such as latin-1.  [default: found, mostly utf-8]"
    ),
    click.option(
        "--filter",
        "filter_",
        metavar="EXPRESSION",
        help="Read only rows for which this is true, such as \"amount > 10 AND country IN ('DE', 'FR')\". Rows are "
        "numbered without the others. Files and row groups that cannot hold such rows are not read.",
    ),
)

missing_values = click.option(
    "--missing-values",
    type=Names(),
    default="",
    help="Texts or numbers that mean a missing cell, comma-separated, beside NA, N/A, null, none and the like.",
)


def read_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options --sep, --decimal, --encoding and --filter, as its parameter ``reading``."""

    @functools.wraps(command)
    def with_reading(
        *args: Any, sep: str | None, decimal: Any, encoding: str | None, filter_: str | None, **kwargs: Any
    ) -> Any:
        from anomaly_vae.columns.reading.options import ReadOptions

        reading = ReadOptions(separator=sep, decimal=decimal, encoding=encoding, filter=filter_)
        return command(*args, reading=reading, **kwargs)

    for option in reversed(_OPTIONS):
        with_reading = option(with_reading)
    return with_reading


def refuse_filter(reading: ReadOptions) -> None:
    """Raise ConfigError if a filter was given although INPUT holds images."""
    if reading.filter is not None:
        raise ConfigError("--filter is for tables, and INPUT holds images; choose images by a folder or a pattern")


def filter_facts(table: Table, *, quiet: bool) -> dict[str, Any]:
    """Print what a filter kept of a table that was read, and return it for programs; nothing without a filter."""
    facts = getattr(table.source, "facts", None)
    if facts is None:
        return {}
    if not quiet:
        click.echo(f"anomaly-vae: {table.source.where}: {table.source.said()}", err=True)  # type: ignore[attr-defined]
    return {"filter": facts()}


def say_how_it_was_read(table: Table, schema: Schema | None = None, *, quiet: bool) -> None:
    """Print what the reader found out about a file, and warn if its encoding is not that of the training table.

    Args:
        table: The table.
        schema: The columns of the model that will read it; None in training.
        quiet: Print warnings only.
    """
    found = table.source.encoding
    if not quiet:
        for note in table.source.notes:
            click.echo(f"anomaly-vae: {note}", err=True)
    is_unsure = found is not None and not found.startswith("utf")
    if schema is not None and is_unsure and schema.encoding not in (None, found):
        warn(
            f"{table.source.where} is read as {found}, the training table was {schema.encoding}; if letters such as é "
            "look wrong in the output, give --encoding"
        )
