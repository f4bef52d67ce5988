"""``anomaly-vae score`` after its options are checked: open the model, run the job, write the page about it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anomaly_vae.cli.score_jobs import Job, Watchers, run_job
from anomaly_vae.cli.score_page import collector_for, write_page
from anomaly_vae.cli.scorers import ServiceOptions, opened_scorer

if TYPE_CHECKING:
    from anomaly_vae.batch import ScoreSummary
    from anomaly_vae.cli.metrics_file import JobMetrics

__all__ = ["run_with"]

# What does not decide where all rows decide together.
_NO_THRESHOLD = dict.fromkeys(("threshold", "upper_threshold", "target_fpr"))


def run_with(
    job: Job,
    model: str,
    service: ServiceOptions,
    metrics: JobMetrics,
    start: float,
    *,
    threads: int | None,
    verify_key: Path | None,
) -> tuple[ScoreSummary, dict[str, Any]]:
    """Open the model, score, and write the page about the job if one is wanted.

    Args:
        job: What is scored.
        model, service, threads, verify_key: As for :func:`anomaly_vae.cli.scorers.opened_scorer`.
        metrics: Gets the model and the counts, also those of a job that fails.
        start: When the command started, by ``time.monotonic``.

    Returns:
        The counts, and facts for programs.

    Raises:
        InvalidInput: The input does not fit the model.
        ConfigError: An option is wrong for this kind of model, or the output cannot be written.
    """
    opened = opened_scorer(
        model,
        service,
        threads=threads,
        target_fpr=job.options.target_fpr,
        tail=job.options.tail,
        verify_key=verify_key,
        quiet=job.quiet,
    )
    with opened as (scorer, facts):
        metrics.bundle_digest = facts["bundle_digest"]
        collector = collector_for(job, scorer)
        summary, more = run_job(job, scorer, Watchers(collector=collector, on_counts=metrics.note))
        metrics.note(summary)
        if collector is not None:
            seconds = time.monotonic() - start
            write_page(job, scorer, collector, summary, model=model, facts=facts, seconds=seconds)
    return summary, {
        **summary.facts(),
        "anomalies": summary.anomalies,
        "most_anomalous_row": summary.most_anomalous_row,
        **(facts if job.fdr is None else {**facts, **_NO_THRESHOLD}),
        **more,
        "seconds": round(time.monotonic() - start, 3),
    }
