"""``anomaly-vae score``."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from anomaly_vae.cli import options
from anomaly_vae.cli.cluster_options import cluster_options
from anomaly_vae.cli.image_options import image_options
from anomaly_vae.cli.job_options import job_options, refuse_early
from anomaly_vae.cli.mixed_up import refuse_swapped
from anomaly_vae.cli.reporting import EXIT_USAGE, warn
from anomaly_vae.cli.score_checks import explaining_of, with_option_names
from anomaly_vae.cli.scorers import ServiceOptions
from anomaly_vae.cli.summary import print_summary
from anomaly_vae.cli.table_options import missing_values, read_options
from anomaly_vae.errors import ConfigError

if TYPE_CHECKING:
    from anomaly_vae.cli.cluster_options import ClusterOptions
    from anomaly_vae.cli.image_options import ImageOptions
    from anomaly_vae.cli.job_options import JobOptions
    from anomaly_vae.cli.progress_json import Style
    from anomaly_vae.record import Tail
    from anomaly_vae.table import ReadOptions

# Chosen, not measured: rows of --top are held in memory.
_MOST_TOP = 1_000_000

_FILE = click.Path(path_type=Path)
# As of a service: see MOST_EXPLAINED in anomaly_vae.service.rpc.explanation_messages.
_MOST_EXPLAINED = 16

# Those of anomaly_vae.cli.progress_json, whose imports take long: completing a command line must be quick.
_STYLES: tuple[Style, ...] = ("auto", "lines", "json", "none")

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
    "--explain",
    type=click.IntRange(1, _MOST_EXPLAINED),
    metavar="K",
    help="Say why flagged rows are anomalies: columns why_1 to why_K, most to blame first. Such a row takes many times "
    "as long.",
)
@click.option("--explain-all", is_flag=True, help="With --explain: explain every row that is written.")
@click.option(
    "--target-fpr",
    type=options.Rate,
    help="Share of normal rows that may be flagged.  [default: that of the calibration]",
)
@click.option(
    "--fdr",
    type=options.Rate,
    metavar="Q",
    help="Decide over all rows together, such that at most this share of the flagged rows is expected to be normal "
    "(Benjamini-Hochberg on the p-values), instead of at most a share of the normal rows.",
)
@options.tail
@click.option("--strict", is_flag=True, help="Refuse an INPUT with columns that the model does not use.")
@click.option("--timeout", type=_SECONDS, help="Service: seconds for one call with all its retries.  [default: 60]")
@click.option("--tls-ca", type=_FILE, help="Service: certificates of the authorities to trust, PEM.")
@click.option("--tls-cert", type=_FILE, help="Service: the client's own certificate, PEM.")
@click.option("--tls-key", type=_FILE, help="Service: the private key of --tls-cert, PEM, not encrypted.")
@options.plot
@click.option(
    "--report",
    type=options.PagePath(),
    metavar="FILE.html",
    help="Also write a page about the job: rates, scores beside the calibration, p-values, the most anomalous rows. "
    "It holds cells of INPUT.",
)
@click.option(
    "--metrics-file",
    type=_FILE,
    metavar="FILE.prom",
    help="Also write figures of the job for the textfile collector of Prometheus' node_exporter, replacing those of "
    "the last job; also when the job fails.",
)
@click.option(
    "--progress",
    type=click.Choice(_STYLES),
    default="auto",
    show_default=True,
    help="auto: a bar on a terminal, a plain line from time to time elsewhere. lines: always such lines. json: one "
    "JSON object a line every 5 seconds. none: nothing before the summary.",
)
@missing_values
@read_options
@image_options
@job_options
@cluster_options
@options.threads
@options.verify_key
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
    explain: int | None,
    explain_all: bool,
    target_fpr: float | None,
    fdr: float | None,
    tail: Tail | None,
    strict: bool,
    timeout: float | None,
    tls_ca: Path | None,
    tls_cert: Path | None,
    tls_key: Path | None,
    plot: Path | None,
    report: Path | None,
    metrics_file: Path | None,
    progress: Style,
    missing_values: tuple[str, ...],
    reading: ReadOptions,
    images: ImageOptions,
    job: JobOptions,
    cluster: ClusterOptions,
    threads: int | None,
    verify_key: Path | None,
    overwrite: bool,
    as_json: bool,
    quiet: bool,
) -> int:
    """Score every row of INPUT with MODEL.

    INPUT is a .csv, .tsv, .parquet, .arrow, .feather, .jsonl or .npy file, also .gz or .zst, a folder or a pattern of
    such files, also in an object store (s3://, gs://, az://), or - for CSV on standard input. It is read as the
    training table was, whatever its format. For a model of images it is a folder of PNG or JPEG files, a .npy array, an
    idx file, or a Parquet file with encoded images.

    MODEL is a directory written by `train`, the URL of one that `push` wrote to, or the address of a running service:
    grpc://HOST:PORT, with TLS grpcs://HOST:PORT. All give the same scores. If the service needs a token, put it in the
    environment variable ANOMALY_VAE_TOKEN.

    The output has one row per input row, in input order; --only-flagged and --top write fewer rows and put their number
    first (column row, from 1). Its columns are the kept columns, then log_px (nats, in data
    units; higher means more normal), elbo, std_error, ess_ratio, p_value (small for anomalies), is_anomaly, reason,
    pareto_k, reliable, num_samples and score. Rows that cannot be scored have empty cells and a reason. The file
    appears under its name only when it is complete.

    If INPUT is a folder or a pattern and OUTPUT ends in / or has no ending, OUTPUT is a folder with a Parquet file for
    each file of INPUT. OUTPUT may be in an object store, s3://BUCKET/PATH, gs:// or az://. What a job has done is kept
    beside OUTPUT until that is complete: --resume goes on with it.

    For a model of series, each row has the scores of the window that ends there, and step_score: the mean of the lowest
    quarter of the windows that cover the step, which also looks at later steps. Rows without a window, such as the
    first ones of a series, have a reason. For a model of images the output starts with the column image, and
    bits_per_dim is -log_px in bits for each of its values.

    --explain K adds texts such as "amount 12000: expected 80 to 140 given the rest (41 nats)" to flagged rows: the
    value of a column, what is expected there given the other columns, and by how many nats it is more surprising than
    usual.
    For series it names steps of a channel of the window, counted from its last step, 0; for images rectangles, and
    --plot then shows where the least likely images are surprising.

    Each row gets as many samples as the model's error target needs. --flag-only uses 16 or 64 for clearly normal rows
    and those of a score for all others, so that every row it flags is flagged without it too. With --tail both, which
    images have by default, it computes what a score needs.

    --fdr Q counts false alarms among the flagged rows, and needs all p-values first: the results are held in a file
    beside the output, or in TMPDIR if it is -, and then written with the flags.

    --report FILE.html shows the job as one page without scripts that loads nothing. --metrics-file FILE.prom lets
    Prometheus know whether and when the job ran.

    \b
    anomaly-vae score model new.csv -o scores.csv --keep id
    anomaly-vae score model new.parquet -o flags.parquet --flag-only
    anomaly-vae score model new.csv -o worst.csv --top 20 --explain 3 --keep id
    anomaly-vae score model events/ -o scored/ --on-error skip --resume
    cat new.csv | anomaly-vae score model - -o - > scores.csv
    anomaly-vae score grpc://127.0.0.1:50051 new.csv -o scores.csv
    anomaly-vae score series-model metrics.csv -o scores.csv --keep ts,host --plot scores.png
    anomaly-vae score image-model photos/ -o scores.csv --top 20 --plot worst.png
    """  # noqa: D301 (a backspace tells click to keep the line breaks of a paragraph)
    from anomaly_vae.batch.false_discovery import refuse_with_fdr
    from anomaly_vae.batch.selection import Selection
    from anomaly_vae.cli.metrics_file import check_metrics_file, job_metrics
    from anomaly_vae.cli.model_input import ModelInput
    from anomaly_vae.cli.pictures import check_plot
    from anomaly_vae.cli.score_jobs import Job
    from anomaly_vae.cli.score_page import check_page
    from anomaly_vae.cli.score_run import run_with
    from anomaly_vae.score_options import ScoreOptions

    start = time.monotonic()
    try:
        scoring = ScoreOptions(
            num_samples=num_samples,
            max_std_error=max_std_error,
            target_fpr=target_fpr,
            tail=tail,
            flag_only=flag_only,
        )
        Selection(only_flagged=only_flagged, top=top).check(scoring)
        explaining = explaining_of(explain, explain_all, scoring, output)
        if fdr is not None:
            refuse_with_fdr(fdr, scoring, explaining)
    except ConfigError as error:
        raise ConfigError(with_option_names(str(error))) from error
    refuse_early(output, input_, overwrite=overwrite, resume=job.resume)
    refuse_swapped(model, input_)
    cluster.check(model, input_, threads=threads, memory=job.memory)
    if cluster.engine != "local" and reading.filter is not None:
        raise ConfigError(
            "--filter is not for --engine ray; filter with --engine local, or write the chosen rows first"
        )
    check_plot(plot, overwrite=overwrite, flag_only=flag_only)
    check_page(report, output, overwrite=overwrite)
    check_metrics_file(metrics_file)
    if plot is not None and fdr is not None:
        raise ConfigError("--plot shows flags by the threshold, and --fdr decides without it; leave out one of the two")
    if plot is not None and job.resume:
        raise ConfigError(
            "--plot shows all scores, and --resume has only those that are left; leave out one of the two"
        )
    given = ModelInput(input_, reading, missing_values, images, skips=job.skips)
    scoring_job = Job(
        given=given,
        output=output,
        keep=keep,
        options=scoring,
        only_flagged=only_flagged,
        top=top,
        explaining=explaining,
        fdr=fdr,
        plot=plot,
        strict=strict,
        overwrite=overwrite,
        how=job,
        cluster=cluster,
        model=model,
        verify_key=verify_key,
        quiet=quiet,
        report=report,
        progress=progress,
    )
    service = ServiceOptions(timeout=timeout, ca=tls_ca, cert=tls_cert, key=tls_key)
    with job_metrics(metrics_file) as metrics:
        try:
            summary, facts = run_with(
                scoring_job, model, service, metrics, start, threads=threads, verify_key=verify_key
            )
        except ConfigError as error:
            named = ConfigError(with_option_names(str(error)))
            for note in getattr(error, "__notes__", []):
                named.add_note(note)
            raise named from error
    print_summary(summary.describe(), facts, as_json=as_json, quiet=quiet, output=output)
    if quiet and summary.has_faults and not as_json:
        warn(summary.describe())
    if summary.warning is not None:
        warn(summary.warning)
    return EXIT_USAGE if summary.skipped else 0
