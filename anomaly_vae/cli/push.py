"""``anomaly-vae push``."""

from __future__ import annotations

from pathlib import Path

import click

from anomaly_vae.cli import options
from anomaly_vae.cli.mixed_up import refuse_table_as_model
from anomaly_vae.cli.transfers import transfer_progress


@click.command("push")
@click.argument("model", metavar="MODEL", type=options.ModelPath(Path))
@click.argument("url", metavar="URL")
@click.option("--overwrite", is_flag=True, help="Replace another model at URL. Services see a new version as well.")
@options.quiet
@options.verbose
def command(model: Path, url: str, overwrite: bool, quiet: bool) -> None:
    """Copy MODEL, with its signature, to URL: the folder of one version, such as s3://models/fraud/4.

    URL is s3://BUCKET/PATH, gs://BUCKET/PATH, az://CONTAINER/PATH or a folder of this machine. The model is checked
    first. Readers never see a part of it: object stores get the manifest last, a folder appears when it is complete.
    Pushing the same model again changes nothing. Credentials come from where the tools of the storage look, such as
    AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY. Other servers that speak the protocol of S3 are named by
    AWS_ENDPOINT_URL, or in the URL: s3://models/fraud/4?endpoint_override=HOST:PORT&scheme=http.

    \b
    anomaly-vae push model s3://models/fraud/4
    anomaly-vae push model models/fraud/4
    """  # noqa: D301 (a backspace tells click to keep the line breaks of a paragraph)
    from anomaly_vae.remote.transfer import push
    from anomaly_vae.scorer import load

    refuse_table_as_model(model, f"anomaly-vae push MODEL {url}")
    load(model, threads=1)  # the model must reproduce its scores as well
    with transfer_progress("pushing", quiet=quiet) as on_bytes:
        pushed = push(model, url, overwrite=overwrite, on_bytes=on_bytes)
    if not quiet:
        done = "was there already" if pushed.was_there else f"written, {pushed.num_bytes:,} bytes"
        click.echo(f"{url.split('?')[0]}: {done}, digest {pushed.digest}")
