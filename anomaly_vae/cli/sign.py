"""``anomaly-vae sign``."""

from __future__ import annotations

from pathlib import Path

import click

from anomaly_vae.cli import options
from anomaly_vae.cli.mixed_up import refuse_table_as_model
from anomaly_vae.cli.reporting import require_signing


@click.command("sign")
@click.argument("model", metavar="[MODEL]", type=options.ModelPath(Path), required=False)
@click.option("--key", type=click.Path(path_type=Path), metavar="FILE.pem", help="Private key to sign MODEL with.")
@click.option(
    "--new-key", metavar="NAME", help="Make a pair of keys: NAME.pem, which stays secret, and NAME.pub.pem, for others."
)
@options.quiet
@options.verbose
def command(model: Path | None, key: Path | None, new_key: str | None, quiet: bool) -> None:
    """Sign MODEL: write model.sig into its folder, in place of a signature that is there.

    Whoever has the public key can then check that the model is the one that you released, byte by byte: `serve`,
    `score`, `inspect` and `pull` have --verify-key. The signature is one of OpenSSF Model Signing, so its own tool
    checks it as well: model_signing verify key MODEL --signature MODEL/model.sig --public_key NAME.pub.pem

    \b
    anomaly-vae sign --new-key release
    anomaly-vae sign model --key release.pem
    anomaly-vae inspect model --verify-key release.pub.pem
    """  # noqa: D301 (a backspace tells click to keep the line breaks of a paragraph)
    if new_key is not None:
        _make(new_key, model, key, quiet=quiet)
        return
    if model is None or key is None:
        raise click.UsageError(
            "give MODEL and --key, or --new-key NAME for a pair of keys", click.get_current_context()
        )
    refuse_table_as_model(model, "anomaly-vae sign MODEL --key FILE.pem")
    require_signing()
    from anomaly_vae.remote.signing import sign

    digest = sign(model, key)
    if not quiet:
        click.echo(f"{model}: signed, digest {digest}")


def _make(name: str, model: Path | None, key: Path | None, *, quiet: bool) -> None:
    from anomaly_vae.remote.keys import make_keys

    if model is not None or key is not None:
        raise click.UsageError("--new-key makes keys and signs nothing; sign by --key", click.get_current_context())
    private, public = Path(f"{name}.pem"), Path(f"{name}.pub.pem")
    make_keys(private, public)
    if not quiet:
        click.echo(f"{private}: private key, keep it secret; {public}: public key, for --verify-key")
