"""``anomaly-vae profile``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from anomaly_vae.cli import options
from anomaly_vae.cli.mixed_up import refuse_images, refuse_model_as_table
from anomaly_vae.cli.summary import print_summary
from anomaly_vae.cli.table_options import missing_values as missing_values_option
from anomaly_vae.cli.table_options import read_options

if TYPE_CHECKING:
    from anomaly_vae.table import ReadOptions


@click.command("profile")
@click.argument("input_", metavar="INPUT", type=options.table_path)
@click.option("--html", type=options.PagePath(), help="Write the profile to this file, as a page of HTML.")
@click.option(
    "--toml", type=click.Path(path_type=Path), help="Write a configuration for `train --config` to this file."
)
@click.option("--label", help="0/1 column; rows with 1 (anomalies) are left out.")
@click.option(
    "--columns", type=options.Names(), default="", help="Columns to look at, comma-separated; by default all."
)
@click.option("--exclude", type=options.Names(), default="", help="Columns to leave out, comma-separated.")
@missing_values_option
@read_options
@options.overwrite
@options.as_json
@options.quiet
@options.verbose
def command(
    input_: str,
    html: Path | None,
    toml: Path | None,
    label: str | None,
    columns: tuple[str, ...],
    exclude: tuple[str, ...],
    missing_values: tuple[str, ...],
    reading: ReadOptions,
    overwrite: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Look at INPUT as `train` would: the kind of each column and why, missing cells, range, histogram.

    Nothing is trained. The profile shows which columns would be left out, and ends with a configuration that says what
    `train` finds out by itself: change it where it is wrong, and give it to `train --config`.

    A table of time series is looked at as `train` without --window would: row by row.

    \b
    anomaly-vae profile data.csv
    anomaly-vae profile data.csv --html data.html --toml settings.toml
    anomaly-vae profile data.csv --json | jq '.columns[] | select(.kind == "left out")'
    """  # noqa: D301 (a backspace tells click to keep the line breaks of a paragraph)
    from anomaly_vae.cli.profile_columns import profile_columns, toml_of
    from anomaly_vae.cli.profile_report import Report, as_html, print_report
    from anomaly_vae.cli.training_input import Selection, read_training_input
    from anomaly_vae.storage import atomic_file, refuse_file
    from anomaly_vae.table import open_table
    from anomaly_vae.training.config import TrainConfig

    for path in (html, toml):
        if path is not None:
            refuse_file(path, overwrite=overwrite)
    refuse_model_as_table(input_)
    refuse_images(input_)
    config = TrainConfig(missing_values=missing_values, random_state=0)
    table = open_table(input_, reading)
    selection = Selection(columns=columns, exclude=exclude, label=label)
    found = read_training_input(table, config, selection, quiet=quiet).table
    profiles = profile_columns(found, config)
    report = Report(input_, len(found.rows), table.source.notes, profiles, toml_of(profiles, config, input_))
    for path, text in ((html, as_html(report)), (toml, report.toml)):
        if path is not None:
            with atomic_file(path, overwrite=overwrite) as part:
                part.write_text(text, encoding="utf-8")
    if as_json:
        facts = {"rows": report.num_rows, "notes": list(report.notes), "columns": [each._asdict() for each in profiles]}
        print_summary("", {"input": input_, **facts, "toml": report.toml}, as_json=True, quiet=True)
    elif html is None and toml is None:
        print_report(report)
    elif not quiet:
        click.echo(f"wrote {' and '.join(str(path) for path in (html, toml) if path is not None)}", err=True)
