"""Options that several commands have."""

from __future__ import annotations

from typing import Any

import click

from anomaly_vae.cli.reporting import DETAILS

__all__ = ["Names", "Rate", "overwrite", "quiet", "threads", "verbose"]


class Names(click.ParamType[tuple[str, ...]]):
    """A click type: comma-separated column names."""

    name = "columns"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:  # noqa: ARG002
        """Split at commas."""
        if isinstance(value, tuple):
            return value
        return tuple(name.strip() for name in str(value).split(",") if name.strip())


Rate = click.FloatRange(0.0, 1.0, min_open=True, max_open=True)

overwrite = click.option("--overwrite", is_flag=True, help="Replace the output if it exists.")
quiet = click.option("-q", "--quiet", is_flag=True, help="Print errors and warnings only: no progress bar, no summary.")
threads = click.option(
    "--threads", type=click.IntRange(1, 1024), help="Number of compute threads.  [default: all cores]"
)


def _show_details(context: click.Context, _parameter: click.Parameter, value: bool) -> None:
    context.meta[DETAILS] = value or context.meta.get(DETAILS, False)


verbose = click.option(
    "-v",
    "--verbose",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=_show_details,
    help="Print the traceback of an error.",
)
