"""``score --metrics-file``: the figures of a batch job for Prometheus' node_exporter and its textfile collector.

The text is written without prometheus_client, which a plain installation does not have.

References:
    https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format
    https://github.com/prometheus/node_exporter#textfile-collector
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from anomaly_vae.cli.reporting import warn
from anomaly_vae.errors import ConfigError
from anomaly_vae.storage import atomic_file, refuse_file

if TYPE_CHECKING:
    from anomaly_vae.batch import ScoreSummary

__all__ = ["JobMetrics", "check_metrics_file", "job_metrics"]

_PREFIX = "anomaly_vae_batch"
_LAST = f"{_PREFIX}_last_success_timestamp_seconds"
_ENDING = ".prom"
# As node_exporter's user reads it, whatever the umask of the job.
_MODE = 0o644


@dataclass
class JobMetrics:
    """What is known about a job so far.

    Attributes:
        start: When it started, seconds since 1970.
        summary: The counts; None before the first batch.
        bundle_digest: The model; None before it is open.
    """

    start: float
    summary: ScoreSummary | None = None
    bundle_digest: str | None = field(default=None)

    def note(self, summary: ScoreSummary) -> None:
        """Take the counts so far: those of a job that fails are written too."""
        self.summary = summary


def check_metrics_file(path: Path | None) -> None:
    """Raise ConfigError if a file cannot be written, or if node_exporter would not read it; before any work."""
    if path is None:
        return
    if path.suffix != _ENDING:
        raise ConfigError(f"--metrics-file {path}: node_exporter reads files that end in {_ENDING}; rename it")
    refuse_file(path, overwrite=True)


@contextlib.contextmanager
def job_metrics(path: Path | None, clock: Callable[[], float] = time.time) -> Iterator[JobMetrics]:
    """Yield a place for what is known about a job, and write it when the job ends or fails.

    Args:
        path: The file; None for none. It always replaces that of the last job.
        clock: Seconds since 1970.
    """
    metrics = JobMetrics(clock())
    try:
        yield metrics
    except BaseException:
        if path is not None:
            _write_of_failure(path, metrics, clock())
        raise
    if path is not None:
        _write(path, _text(path.stem, metrics, clock(), None))


def _write_of_failure(path: Path, metrics: JobMetrics, end: float) -> None:
    """Write the figures of a job that failed; its own error matters more than one of this file."""
    try:
        _write(path, _text(path.stem, metrics, end, _last_success(path)))
    except (ConfigError, OSError) as error:
        warn(f"the metrics were not written: {error}")


def _write(path: Path, text: str) -> None:
    with atomic_file(path, overwrite=True) as part:
        part.write_text(text, encoding="utf-8")
        part.chmod(_MODE)


def _last_success(path: Path) -> float:
    """Return when the job last succeeded by the file of before, seconds since 1970; 0 if that is not known."""
    try:
        text = path.read_text(encoding="utf-8")
        found = re.search(rf"^{_LAST}(?:\{{.*\}})? ([0-9.e+]+)$", text, re.MULTILINE)
        return float(found[1]) if found else 0.0
    except (OSError, ValueError):
        return 0.0


def _text(name: str, metrics: JobMetrics, end: float, last_success: float | None) -> str:
    """Return the file.

    Args:
        name: Of the job, the label ``batch``: node_exporter refuses files that have a series in common.
        metrics: What is known.
        end: Now, seconds since 1970.
        last_success: When the job last succeeded, seconds since 1970; None if it has succeeded now.
    """
    label, summary, seconds = f'batch="{_escaped(name)}"', metrics.summary, end - metrics.start
    rows = 0 if summary is None else summary.rows
    done = rows if summary is None else rows - summary.resumed  # an earlier process had done the others
    speed = round(done / seconds, 3) if seconds > 0 else 0
    skipped = 0 if summary is None else len(summary.skipped)
    anomalies = [] if summary is None or summary.anomalies is None else [("", summary.anomalies)]
    unscored = [] if summary is None else sorted(summary.unscored.items())
    digest = [] if metrics.bundle_digest is None else [(f',bundle_digest="{_escaped(metrics.bundle_digest)}"', 1)]
    succeeded = last_success is None
    families: list[tuple[str, str, Sequence[tuple[str, float]]]] = [
        ("rows", "Rows read by the last job.", [("", rows)]),
        ("anomalies", "Rows that the last job flagged.", anomalies),
        (
            "unscored_rows",
            "Rows that the last job could not score, by kind.",
            [(f',kind="{_escaped(kind)}"', count) for kind, count in unscored],
        ),
        ("skipped_files", "Files that the last job could not read and left out.", [("", skipped)]),
        ("duration_seconds", "Duration of the last job.", [("", round(seconds, 3))]),
        ("rows_per_second", "Rows a second of the last job.", [("", speed)]),
        ("start_timestamp_seconds", "When the last job started.", [("", round(metrics.start, 3))]),
        ("end_timestamp_seconds", "When the last job ended.", [("", round(end, 3))]),
        ("success", "1 if the last job succeeded, 0 if it failed.", [("", int(succeeded))]),
        (
            "last_success_timestamp_seconds",
            "When a job last ended with success; 0 if none has.",
            [("", round(end if last_success is None else last_success, 3))],
        ),
        ("model_info", "The model of the last job.", digest),
    ]
    written = list[str]()
    for family, text, values in families:
        if values:
            written += [f"# HELP {_PREFIX}_{family} {text}", f"# TYPE {_PREFIX}_{family} gauge"]
            written += [f"{_PREFIX}_{family}{{{label}{more}}} {value}" for more, value in values]
    return "\n".join(written) + "\n"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
