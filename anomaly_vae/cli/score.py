"""``anomaly-vae score``."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from anomaly_vae.cli import options
from anomaly_vae.cli.errors import require_serving, warn
from anomaly_vae.errors import ConfigError

if TYPE_CHECKING:
    from anomaly_vae.batch import RowScorer

# For a service that was started a moment ago: where nothing at all has answered so long, the address is likely wrong.
_SECONDS_TO_START = 3.0
_DEFAULT_TIMEOUT = 60.0

_FILE = click.Path(path_type=Path)
_SECONDS = click.FloatRange(min=0.0, min_open=True)


@click.command("score")
@click.argument("model")
@click.argument("input_", metavar="INPUT")
@click.option("-o", "--output", required=True, help="Table to write: .csv, .parquet, or - for standard output.")
@click.option("--keep", type=options.Names(), default="", help="Input columns to copy to the output, comma-separated.")
@click.option("--num-samples", type=int, help="Decoder evaluations a row; only the calibrated budget gives flags.")
@click.option("--max-std-error", type=float, help="Stop at a row once its standard error is at most this, in nats.")
@click.option("--flag-only", is_flag=True, help="Decide only, many times faster: is_anomaly, reason, num_samples.")
@click.option("--target-fpr", type=options.Rate, help="Flag at another false-positive rate than the model's.")
@click.option("--strict", is_flag=True, help="Refuse input columns the model does not know.")
@click.option("--timeout", type=_SECONDS, help="Seconds a call to a service may take, with its retries.  [default: 60]")
@click.option("--tls-ca", type=_FILE, help="Certificates of the authorities that may sign the service's, PEM.")
@click.option("--tls-cert", type=_FILE, help="Certificate to show to a service that asks for one, PEM.")
@click.option("--tls-key", type=_FILE, help="Its private key, PEM, not encrypted.")
@options.threads
@options.overwrite
@options.quiet
@options.verbose
def command(
    model: str,
    input_: str,
    output: str,
    keep: tuple[str, ...],
    num_samples: int | None,
    max_std_error: float | None,
    flag_only: bool,
    target_fpr: float | None,
    strict: bool,
    timeout: float | None,
    tls_ca: Path | None,
    tls_cert: Path | None,
    tls_key: Path | None,
    threads: int | None,
    overwrite: bool,
    quiet: bool,
) -> None:
    """Score every row of INPUT (.csv, .parquet, or - for CSV on standard input) with MODEL.

    MODEL is a bundle, or grpc://HOST:PORT, by TLS grpcs://HOST:PORT, for a running service, which gives the same
    scores. A service that wants a token finds it in the environment variable ANOMALY_VAE_TOKEN.

    The output has one row per input row, in input order: the kept columns, then log_px (nats, data units; higher is
    more normal), elbo, std_error, ess_ratio, p_value (small for anomalies), is_anomaly, reason, pareto_k, reliable,
    num_samples. Rows that cannot be scored have empty cells and a reason. The file appears under its name only when it
    is complete.

    With --flag-only, rows that are clearly normal take a fraction of the samples, and every flagged row the full
    budget: the flags are those of a full run.

    \b
    anomaly-vae score model new.csv -o scores.csv --keep id
    anomaly-vae score model new.parquet -o flags.parquet --flag-only
    cat new.csv | anomaly-vae score model - -o - > scores.csv
    anomaly-vae score grpc://127.0.0.1:50051 new.csv -o scores.csv
    """  # noqa: D301 (click reads the backspace as: keep these lines)
    from anomaly_vae.batch import ScoreOptions, score_table
    from anomaly_vae.cli.progress import table_progress
    from anomaly_vae.storage import refuse_existing
    from anomaly_vae.table import check_ending, open_table

    asked = ScoreOptions(
        num_samples=num_samples, max_std_error=max_std_error, target_fpr=target_fpr, flag_only=flag_only
    )
    if output != "-":
        refuse_existing(check_ending(output), overwrite=overwrite)
    table = open_table(input_)
    with contextlib.ExitStack() as stack:
        if model.startswith(("grpc://", "grpcs://")):
            _refuse({"--threads": threads, "--target-fpr": target_fpr}, "the service's to set; give a bundle as MODEL")
            scorer: RowScorer = stack.enter_context(_connected(model, timeout, tls_ca, tls_cert, tls_key, quiet=quiet))
        else:
            of_a_service = {"--timeout": timeout, "--tls-ca": tls_ca, "--tls-cert": tls_cert, "--tls-key": tls_key}
            _refuse(of_a_service, "about a service; give grpcs://HOST:PORT as MODEL")
            scorer = _loaded(model, threads)
        _mention_extra(table.names, {*scorer.schema.names, *keep, scorer.schema.label}, strict=strict)
        on_batch = stack.enter_context(table_progress("scoring", table, quiet=quiet))
        summary = score_table(
            scorer,
            table,
            output,
            keep=keep,
            options=asked,
            overwrite=overwrite,
            on_batch=on_batch,
        )
    if not quiet:
        click.echo(f"{'standard output' if output == '-' else output}: {summary.describe()}", err=True)
    elif summary.unscored:
        warn(summary.describe())


def _loaded(model: str, threads: int | None) -> RowScorer:
    if "://" in model or (re.fullmatch(r"[^/]+:\d+", model) and not Path(model).exists()):
        raise ConfigError(f"{model}: no model has such a name; a service is grpc://HOST:PORT, by TLS grpcs://HOST:PORT")
    from anomaly_vae.scorer import load

    return load(model, threads=threads)


@contextlib.contextmanager
def _connected(
    model: str, timeout: float | None, ca: Path | None, cert: Path | None, key: Path | None, *, quiet: bool
) -> Iterator[RowScorer]:
    require_serving()
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # its core would print lines of its own beside ours
    from anomaly_vae.cli.progress import shown_log
    from anomaly_vae.client import Client, Tls

    tls = Tls(ca=ca, cert=cert, key=key) if ca or cert or key else None
    seconds = _DEFAULT_TIMEOUT if timeout is None else timeout
    with shown_log("anomaly_vae.client", quiet=quiet), Client(model, timeout=seconds, tls=tls) as client:
        client.wait_until_ready(seconds, first_answer=_SECONDS_TO_START)
        yield client


def _refuse(given: Mapping[str, object], why: str) -> None:
    for name, value in given.items():
        if value is not None:
            raise ConfigError(f"{name} is {why}, or leave it out")


def _mention_extra(found: tuple[str, ...], known: set[str | None], *, strict: bool) -> None:
    extra = [name for name in found if name not in known]
    if not extra:
        return
    text = f"input columns that the model does not know: {', '.join(extra[:5])}"
    if len(extra) > 5:
        text += f" and {len(extra) - 5} more"
    if strict:
        raise ConfigError(f"{text}; remove them, or leave out --strict to ignore them")
    warn(f"{text}; ignored")
