"""``anomaly-vae score``."""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from anomaly_vae.cli import options
from anomaly_vae.cli.mixed_up import refuse_swapped
from anomaly_vae.cli.reporting import require_serving, warn
from anomaly_vae.cli.summary import print_summary
from anomaly_vae.cli.table_options import missing_values, read_options, say_how_it_was_read
from anomaly_vae.errors import ConfigError

if TYPE_CHECKING:
    from anomaly_vae.client import Client
    from anomaly_vae.scorer import Scorer
    from anomaly_vae.table import ReadOptions

# Seconds to wait for the first answer of a service. A service starts in about 0.5 s; if nothing answers for longer than
# this, the address is probably wrong.
_SECONDS_TO_START = 3.0
# Seconds; the default of the client as well.
_DEFAULT_TIMEOUT = 60.0

# Chosen, not measured: rows of --top are held in memory.
_MOST_TOP = 1_000_000

_FILE = click.Path(path_type=Path)
_PYTHON_NAMES = re.compile(r"\b(num_samples|max_std_error|target_fpr|flag_only)\b")
_SECONDS = click.FloatRange(min=0.0, min_open=True)


@click.command("score")
@click.argument("model", metavar="MODEL", type=options.ModelPath())
@click.argument("input_", metavar="INPUT", type=options.table_path)
@options.output_table
@options.keep
@click.option(
    "--num-samples",
    type=int,
    help="A fixed number of decoder evaluations per row, instead of what a row needs. Gives no p-values and no flags.",
)
@click.option(
    "--max-std-error",
    type=float,
    help="Another error target: sampling of a row ends when its standard error is at most this many nats. Gives no "
    "p-values and no flags.  [default: that of the calibration]",
)
@click.option("--flag-only", is_flag=True, help="Write only is_anomaly, reason and num_samples; faster.")
@click.option("--only-flagged", is_flag=True, help="Write only flagged rows, with the column row: its number in INPUT.")
@click.option(
    "--top",
    type=click.IntRange(1, _MOST_TOP),
    metavar="N",
    help="Write only the N most anomalous rows, the most anomalous first, with the column row: its number in INPUT.",
)
@click.option(
    "--target-fpr",
    type=options.Rate,
    help="Share of normal rows that may be flagged.  [default: that of the calibration]",
)
@click.option("--strict", is_flag=True, help="Refuse an INPUT with columns that the model does not use.")
@click.option("--timeout", type=_SECONDS, help="Service: seconds for one call with all its retries.  [default: 60]")
@click.option("--tls-ca", type=_FILE, help="Service: certificates of the authorities to trust, PEM.")
@click.option("--tls-cert", type=_FILE, help="Service: the client's own certificate, PEM.")
@click.option("--tls-key", type=_FILE, help="Service: the private key of --tls-cert, PEM, not encrypted.")
@missing_values
@read_options
@options.threads
@options.overwrite
@options.as_json
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
    only_flagged: bool,
    top: int | None,
    target_fpr: float | None,
    strict: bool,
    timeout: float | None,
    tls_ca: Path | None,
    tls_cert: Path | None,
    tls_key: Path | None,
    missing_values: tuple[str, ...],
    reading: ReadOptions,
    threads: int | None,
    overwrite: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Score every row of INPUT with MODEL.

    INPUT is a .csv, .tsv, .parquet, .arrow, .feather, .jsonl or .npy file, also .gz or .zst, a folder or a pattern of
    such files, or - for CSV on standard input. It is read as the training table was, whatever its format.

    MODEL is a directory written by `train`, or the address of a running service: grpc://HOST:PORT, with TLS
    grpcs://HOST:PORT. Both give the same scores. If the service needs a token, put it in the environment variable
    ANOMALY_VAE_TOKEN.

    The output has one row per input row, in input order; --only-flagged and --top write fewer rows and put their number
    first (column row, from 1). Its columns are the kept columns, then log_px (nats, in data
    units; higher means more normal), elbo, std_error, ess_ratio, p_value (small for anomalies), is_anomaly, reason,
    pareto_k, reliable, num_samples and score. Rows that cannot be scored have empty cells and a reason. The file
    appears under its name only when it is complete.

    Each row gets as many samples as the model's error target needs. --flag-only uses 16 or 64 for clearly normal rows
    and those of a score for all others, so that every row it flags is flagged without it too.

    \b
    anomaly-vae score model new.csv -o scores.csv --keep id
    anomaly-vae score model new.parquet -o flags.parquet --flag-only
    anomaly-vae score model new.csv -o worst.csv --top 20 --keep id
    cat new.csv | anomaly-vae score model - -o - > scores.csv
    anomaly-vae score grpc://127.0.0.1:50051 new.csv -o scores.csv
    """  # noqa: D301 (a backspace tells click to keep the line breaks of a paragraph)
    from anomaly_vae.batch import score_table
    from anomaly_vae.batch.selection import Selection
    from anomaly_vae.cli.console import table_progress
    from anomaly_vae.columns.rows import match_columns
    from anomaly_vae.score_options import ScoreOptions
    from anomaly_vae.storage import refuse_file
    from anomaly_vae.table import check_ending, open_table

    start = time.monotonic()
    try:
        scoring = ScoreOptions(
            num_samples=num_samples, max_std_error=max_std_error, target_fpr=target_fpr, flag_only=flag_only
        )
        Selection(only_flagged=only_flagged, top=top).check(scoring)
    except ConfigError as error:
        raise ConfigError(_with_option_names(str(error))) from error
    if output != "-":
        refuse_file(check_ending(output), overwrite=overwrite)
    refuse_swapped(model, input_)
    table = open_table(input_, reading, missing_values)
    with contextlib.ExitStack() as stack:
        scorer: Scorer | Client
        if model.startswith(("grpc://", "grpcs://")):
            _refuse({"--threads": threads, "--target-fpr": target_fpr}, "set by the service; give a directory as MODEL")
            scorer = stack.enter_context(_connected(model, timeout, tls_ca, tls_cert, tls_key, quiet=quiet))
            facts = _facts_of_service(scorer)
        else:
            service_options = {"--timeout": timeout, "--tls-ca": tls_ca, "--tls-cert": tls_cert, "--tls-key": tls_key}
            _refuse(service_options, "only for a service; give grpcs://HOST:PORT as MODEL")
            scorer = _loaded(model, threads)
            facts = _facts_of_model(scorer, target_fpr)
        schema = scorer.schema
        match_columns(table.names, schema.names)
        say_how_it_was_read(table, schema, quiet=quiet)
        known = {*schema.names, *schema.left_out, *keep, schema.label, ""}
        _warn_extra_columns(table.names, known, strict=strict)
        on_batch = stack.enter_context(table_progress("scoring", table, quiet=quiet))
        summary = score_table(
            scorer,
            table,
            output,
            keep=keep,
            options=scoring,
            only_flagged=only_flagged,
            top=top,
            overwrite=overwrite,
            on_batch=on_batch,
        )
    facts = {
        **summary.facts(),
        "anomalies": summary.anomalies,
        "most_anomalous_row": summary.most_anomalous_row,
        **facts,
        "seconds": round(time.monotonic() - start, 3),
    }
    print_summary(summary.describe(), facts, as_json=as_json, quiet=quiet, output=output)
    if quiet and summary.unscored and not as_json:
        warn(summary.describe())


def _facts_of_model(scorer: Scorer, target_fpr: float | None) -> dict[str, Any]:
    """Return what the flags come from, for the summary as JSON."""
    calibration = scorer.bundle.manifest.calibration
    return {
        "threshold": scorer.threshold if target_fpr is None else scorer.threshold_at(target_fpr),
        "target_fpr": target_fpr or calibration.target_fpr,
        "bundle_digest": scorer.bundle.digest,
    }


def _facts_of_service(client: Client) -> dict[str, Any]:
    model = client.model
    return {
        "threshold": model.calibration.threshold,
        "target_fpr": model.calibration.target_fpr,
        "bundle_digest": model.bundle_digest,
    }


def _with_option_names(text: str) -> str:
    """Replace the Python names of options by those of the command line."""
    return _PYTHON_NAMES.sub(lambda name: "--" + name[0].replace("_", "-"), text)


def _loaded(model: str, threads: int | None) -> Scorer:
    if "://" in model or (re.fullmatch(r"[^/]+:\d+", model) and not Path(model).exists()):
        raise ConfigError(
            f"{model}: this is not a model; for a service use grpc://HOST:PORT, or grpcs://HOST:PORT with TLS"
        )
    from anomaly_vae.scorer import load

    return load(model, threads=threads)


@contextlib.contextmanager
def _connected(
    model: str, timeout: float | None, ca: Path | None, cert: Path | None, key: Path | None, *, quiet: bool
) -> Iterator[Client]:
    require_serving()
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # otherwise gRPC's core prints lines of its own
    from anomaly_vae.cli.console import shown_log
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


def _warn_extra_columns(found: tuple[str, ...], known: set[str | None], *, strict: bool) -> None:
    extra = [name for name in found if name not in known]
    if not extra:
        return
    text = f"input columns that the model does not use: {', '.join(extra[:5])}"
    if len(extra) > 5:
        text += f" and {len(extra) - 5} more"
    if strict:
        raise ConfigError(f"{text}; remove them, or leave out --strict to ignore them")
    warn(f"{text}; ignored")
