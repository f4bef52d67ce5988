"""Options that several commands have."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from anomaly_vae.cli.reporting import DETAILS
from anomaly_vae.columns.image_layouts import LAYOUTS

if TYPE_CHECKING:
    from anomaly_vae.record import Tail

__all__ = [
    "ModelPath",
    "Names",
    "PagePath",
    "Rate",
    "Rates",
    "as_json",
    "image_column",
    "image_layout",
    "keep",
    "output_table",
    "overwrite",
    "plot",
    "quiet",
    "table_path",
    "tail",
    "threads",
    "verbose",
    "verify_key",
]

# Those of anomaly_vae.record, which imports msgspec: completing a command line must be quick.
_TAILS: tuple[Tail, ...] = ("low", "both")


class Names(click.ParamType[tuple[str, ...]]):
    """A click type: comma-separated column names."""

    name = "columns"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:  # noqa: ARG002
        """Split at commas."""
        if isinstance(value, tuple):
            return value
        return tuple(name.strip() for name in str(value).split(",") if name.strip())


class Rates(click.ParamType[tuple[float, ...]]):
    """A click type: comma-separated rates between 0 and 1."""

    name = "rates"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, ...]:
        """Split at commas."""
        if isinstance(value, tuple):
            return value
        return tuple(self._rate(text, param, ctx) for text in Names().convert(value, param, ctx))

    def _rate(self, text: str, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            return float(Rate(text, param, ctx))
        except click.BadParameter:
            self.fail(f"{text!r} is no rate; expected numbers between 0 and 1, such as 0.01", param, ctx)


class PagePath(click.Path):
    """A click type: the file of a page of HTML. Browsers know a page by the end of its name."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Refuse other files."""
        path = Path(os.fsdecode(super().convert(value, param, ctx)))
        if path.suffix.lower() not in (".html", ".htm"):
            self.fail(f"{str(path)!r}: a page is written to a file whose name ends in .html", param, ctx)
        return path


class ModelPath(click.Path):
    """A click type: the directory of a model, which shells complete as a directory.

    Whether it is one, the command says: its message is better than click's.
    """

    def __init__(self, path_type: type[Any] | None = None) -> None:
        """Return values of type ``path_type``; None for text, which may also be the address of a service."""
        super().__init__(readable=False, path_type=path_type)

    def shell_complete(
        self,
        ctx: click.Context,  # noqa: ARG002 (click's signature)
        param: click.Parameter,  # noqa: ARG002
        incomplete: str,
    ) -> list[CompletionItem]:
        """Let the shell complete directories."""
        return [CompletionItem(incomplete, type="dir")]


class TablePath(click.Path):
    """A click type: a table to read or to write, its URL, or ``-``; shells complete it as a file.

    Whether it can be used, the command says.
    """

    def __init__(self) -> None:
        super().__init__(readable=False, allow_dash=True)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Make a path of ``file:///PATH``."""
        from anomaly_vae.remote.address import local_path

        return local_path(os.fsdecode(super().convert(value, param, ctx)))


table_path = TablePath()

Rate = click.FloatRange(0.0, 1.0, min_open=True, max_open=True)

output_table = click.option(
    "-o",
    "--output",
    required=True,
    type=table_path,
    help="Table to write: .csv, .tsv or .jsonl, also with .gz or .zst, .parquet, .arrow, .feather or .npy; - for CSV "
    "on standard output.",
)
keep = click.option("--keep", type=Names(), default="", help="Input columns to copy to the output, comma-separated.")
plot = click.option(
    "--plot",
    type=click.Path(path_type=Path),
    metavar="FILE.png",
    help="Draw the result to this .png, .svg or .pdf file; needs matplotlib, which anomaly_vae[train] has.",
)
overwrite = click.option("--overwrite", is_flag=True, help="Replace the output if it exists.")
quiet = click.option("-q", "--quiet", is_flag=True, help="Print errors and warnings only: no progress, no summary.")
as_json = click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Print the summary as one JSON object, for programs: on standard output, or on standard error if OUTPUT is -.",
)
tail = click.option(
    "--tail",
    type=click.Choice(_TAILS),
    help="low: rows with a low score are anomalies. both: also those with a higher score than normal rows have; each "
    "side gets half of the target.  [default: that of MODEL]",
)
image_layout = click.option(
    "--layout",
    type=click.Choice(LAYOUTS),
    default="auto",
    help="Order of the axes of an array of images.  [default: found]",
)
image_column = click.option(
    "--image-column", help="Column of a Parquet or Arrow file that holds images.  [default: found]"
)
threads = click.option(
    "--threads", type=click.IntRange(1, 1024), help="Number of compute threads.  [default: all cores]"
)


def _show_details(context: click.Context, _parameter: click.Parameter, value: bool) -> None:
    context.meta[DETAILS] = value or context.meta.get(DETAILS, False)


verify_key = click.option(
    "--verify-key",
    type=click.Path(path_type=Path),
    metavar="FILE.pem",
    help="Public key: refuse a model that `anomaly-vae sign` has not signed with its private key.",
)
verbose = click.option(
    "-v",
    "--verbose",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=_show_details,
    help="Print the traceback of an error.",
)
