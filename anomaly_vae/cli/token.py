"""``anomaly-vae token``."""

from __future__ import annotations

from pathlib import Path

import click

from anomaly_vae.cli import options


@click.command("token")
@click.argument("name")
@click.option("--file", "path", type=click.Path(path_type=Path), help="Token file to add it to, created if missing.")
@click.option("-q", "--quiet", is_flag=True, help="Print the token and errors only.")
@options.verbose
def command(name: str, path: Path | None, quiet: bool) -> None:
    """Make a token that lets a client call the service. NAME says later whose token it is.

    The token is printed on standard output only once: the file holds its digest, NAME sha256:HEX, from which the token
    cannot be computed. A running service reads a changed file by itself. To revoke a token, delete its line.

    \b
    anomaly-vae token billing --file tokens > billing.token
    anomaly-vae serve model --token-file tokens
    ANOMALY_VAE_TOKEN=$(cat billing.token) anomaly-vae score grpc://127.0.0.1:50051 new.csv -o scores.csv

    Clients in other languages send the metadata "authorization: Bearer TOKEN". Without --file the line for the file
    is printed on standard error.
    """  # noqa: D301 (click reads the backspace as: keep these lines)
    from anomaly_vae.service.access.token_file import add_token, make_token, token_line

    token = make_token()
    line = token_line(name, token)
    if path is not None:
        add_token(path, name, token)
    if not quiet:
        click.echo(f"for the token file: {line}" if path is None else f"{path}: {name} added", err=True)
    click.echo(token)
