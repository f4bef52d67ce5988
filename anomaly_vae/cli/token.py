"""``anomaly-vae token``."""

from __future__ import annotations

from pathlib import Path

import click

from anomaly_vae.cli import options


@click.command("token")
@click.argument("name")
@click.option("--file", "path", type=click.Path(path_type=Path), help="Token file to add it to, created if missing.")
@click.option(
    "--priority",
    type=click.Choice(["online", "batch"]),
    default="online",
    show_default=True,
    help="Batch rows get little of the compute time while online rows wait.",
)
@click.option("--rows-per-second", type=int, metavar="N", help="Most rows in a second.  [default: unlimited]")
@click.option(
    "--outstanding-rows", type=int, metavar="N", help="Most rows sent and not yet answered.  [default: unlimited]"
)
@click.option("--admin", is_flag=True, help="Allow changes of the served models.")
@click.option("-q", "--quiet", is_flag=True, help="Print the token and errors only.")
@options.verbose
def command(
    name: str,
    path: Path | None,
    priority: str,
    rows_per_second: int | None,
    outstanding_rows: int | None,
    admin: bool,
    quiet: bool,
) -> None:
    """Make a token that lets a client call the service. NAME says later whose token it is.

    The token is printed on standard output only once: the file holds its digest, NAME sha256:HEX, from which the token
    cannot be computed. A running service reads a changed file by itself. To revoke a token, delete its line. To change
    its limits, edit its line.

    \b
    anomaly-vae token billing --file tokens > billing.token
    anomaly-vae token nightly --file tokens --priority batch --rows-per-second 1000 > nightly.token
    anomaly-vae serve model --token-file tokens
    ANOMALY_VAE_TOKEN=$(cat billing.token) anomaly-vae score grpc://127.0.0.1:50051 new.csv -o scores.csv

    Clients in other languages send the metadata "authorization: Bearer TOKEN". Without --file the line for the file
    is printed on standard error.
    """  # noqa: D301 (click reads the backspace as: keep these lines)
    from anomaly_vae.service.access.token_file import add_token, make_token, token_line
    from anomaly_vae.service.callers import Caller, Priority

    caller, token = Caller(name, Priority(priority), rows_per_second, outstanding_rows, admin), make_token()
    line = token_line(caller, token)
    if path is not None:
        add_token(path, caller, token)
    if not quiet:
        click.echo(f"for the token file: {line}" if path is None else f"{path}: {name} added", err=True)
    click.echo(token)
