"""``anomaly-vae pull``."""

from __future__ import annotations

from pathlib import Path

import click

from anomaly_vae.cli import options
from anomaly_vae.cli.transfers import transfer_progress


@click.command("pull")
@click.argument("url", metavar="URL")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="Model (directory) to write.")
@options.verify_key
@options.overwrite
@options.quiet
@options.verbose
def command(url: str, output: Path, verify_key: Path | None, overwrite: bool, quiet: bool) -> None:
    """Copy the model at URL to a folder, which appears when it is complete and checked.

    URL is s3://BUCKET/PATH, gs://BUCKET/PATH, az://CONTAINER/PATH, https://HOST/PATH or a folder of this machine: that
    of one model, or one with a single model below it. Every file must have the size and sha256 that the manifest lists.

    \b
    anomaly-vae pull s3://models/fraud/4 -o model
    anomaly-vae pull https://example.com/models/fraud/4 -o model --verify-key release.pub.pem
    """  # noqa: D301 (a backspace tells click to keep the line breaks of a paragraph)
    from anomaly_vae.remote.transfer import pull

    with transfer_progress("pulling", quiet=quiet) as on_bytes:
        pulled = pull(url, output, verify_key=verify_key, overwrite=overwrite, on_bytes=on_bytes)
    if not quiet:
        signed = "" if verify_key is None else f", signed with the key of {verify_key}"
        click.echo(f"{output}: written, {pulled.num_bytes:,} bytes, digest {pulled.digest}{signed}")
