"""The page of ``score --report``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from anomaly_vae.errors import ConfigError
from anomaly_vae.storage import atomic_file, refuse_file

if TYPE_CHECKING:
    from anomaly_vae.batch import ScoreSummary
    from anomaly_vae.batch.collected import Collector
    from anomaly_vae.cli.score_jobs import Job
    from anomaly_vae.client import Client
    from anomaly_vae.scorer import Scorer

__all__ = ["check_page", "collector_for", "write_page"]

_UNITS = {"series": "window", "image": "image"}


def check_page(path: Path | None, output: str, *, overwrite: bool) -> None:
    """Raise ConfigError if a page cannot be written; called before any work."""
    if path is None:
        return
    if output != "-" and Path(output).absolute() == path.absolute():
        raise ConfigError(f"--report and --output name the same file, {path}; give two files")
    refuse_file(path, overwrite=overwrite)


def collector_for(job: Job, scorer: Scorer | Client) -> Collector | None:
    """Return what collects the figures of a page; None if no page is wanted."""
    if job.report is None:
        return None
    from anomaly_vae.batch.collected import Collector, score_edges

    local = _local(scorer)
    if local is None:
        return Collector(scorer.schema)
    thresholds = scorer.thresholds(target_fpr=job.options.target_fpr, tail=job.options.tail)
    return Collector(scorer.schema, score_edges(local.bundle.calibration, thresholds))


def write_page(
    job: Job,
    scorer: Scorer | Client,
    found: Collector,
    summary: ScoreSummary,
    *,
    model: str,
    facts: dict[str, Any],
    seconds: float,
) -> None:
    """Write the page; the file appears under its name only when it is complete.

    Args:
        job: What was done.
        scorer: The model.
        found: What was collected.
        summary: The counts.
        model: MODEL as it was given.
        facts: What the flags come from; see :func:`anomaly_vae.cli.scorers.opened_scorer`.
        seconds: Duration.

    Raises:
        ConfigError: The file exists or cannot be written.
    """
    from anomaly_vae.pages.batch_job import BatchJob, batch_job_page

    if job.report is None or summary.was_complete:
        return
    local, kind = _local(scorer), scorer.schema.kind
    grid = None if found.p_counts is None else scorer.p_value_grid(tail=job.options.tail)
    page = batch_job_page(
        BatchJob(
            title=f"{job.given.path} scored with {model}",
            found=found,
            rows=summary.rows,
            resumed=summary.resumed,
            seconds=seconds,
            thresholds=scorer.thresholds(target_fpr=job.options.target_fpr, tail=job.options.tail),
            target=facts["target_fpr"] if job.fdr is None else None,
            calibration=None if local is None else local.bundle.calibration,
            calibration_rows=None if grid is None else grid.num_rows,
            num_novel=0 if local is None else local.bundle.manifest.calibration.num_novel,
            only_small=scorer.has_contrast,
            is_dependent=kind == "series",
            unit=_UNITS.get(kind, "row"),
            decision="" if summary.discoveries is None else _decision(summary),
            stages=summary.stages,
            details=[
                ("input", job.given.path),
                ("output", job.output),
                ("model", model),
                ("digest of the model", str(facts["bundle_digest"] or "not known")),
                ("options", _options(job)),
            ],
        )
    )
    with atomic_file(job.report, overwrite=job.overwrite) as part:
        part.write_text(page, encoding="utf-8")


def _decision(summary: ScoreSummary) -> str:
    found = summary.discoveries
    return "" if found is None else f"All decided together, with --fdr {found.rate:g}, not by the threshold."


def _options(job: Job) -> str:
    """Return the options that change what is scored, as on the command line."""
    given: dict[str, Any] = {
        "--keep": ",".join(job.keep),
        "--num-samples": job.options.num_samples,
        "--max-std-error": job.options.max_std_error,
        "--target-fpr": job.options.target_fpr,
        "--tail": job.options.tail,
        "--flag-only": job.options.flag_only,
        "--only-flagged": job.only_flagged,
        "--top": job.top,
        "--explain": None if job.explaining is None else job.explaining.top,
        "--explain-all": job.explaining is not None and job.explaining.every,
        "--fdr": job.fdr,
        "--on-error": "skip" if job.how.skips else None,
    }
    texts = [name if value is True else f"{name} {value}" for name, value in given.items() if value]
    return " ".join(texts) or "the defaults"


def _local(scorer: Scorer | Client) -> Scorer | None:
    from anomaly_vae.scorer import Scorer

    return scorer if isinstance(scorer, Scorer) else None
