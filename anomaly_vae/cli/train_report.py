"""The page of ``anomaly-vae train --report``: the report of the model, with what only the training knows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from anomaly_vae.cli.report_job import report_of, write_report
from anomaly_vae.scorer import Scorer

if TYPE_CHECKING:
    from anomaly_vae.assessment.ranking import DetectionQuality
    from anomaly_vae.bundle.files import Bundle
    from anomaly_vae.cli.training_job import TrainingJob

__all__ = ["write_training_report"]


def write_training_report(
    bundle: Bundle, job: TrainingJob, quality: DetectionQuality | None, model: Path, path: Path, *, overwrite: bool
) -> None:
    """Write the page.

    Args:
        bundle: The trained model.
        job: What it was trained on.
        quality: How it ranks rows marked as anomalies; None if there are none.
        model: Where the model was written.
        path: The page.
        overwrite: Whether an existing page is replaced.

    Raises:
        ConfigError: The page cannot be written.
    """
    scorer = Scorer(bundle)
    scorer.path = model.absolute()
    report = report_of(scorer, model.absolute().name, None, 0, quiet=True)
    left_out = [
        (each.column or "(no name)", _sentence(each.text, each.remedy)) for each in job.findings if each.is_left_out
    ]
    data = list(report.card.data)
    if quality is not None:
        found = f"AUROC {quality.auroc:.4f}, average precision {quality.average_precision:.4f}"
        data.append(("rows marked 1", f"{job.num_anomalous:,}, not trained on; against calibration rows: {found}"))
    card = replace(report.card, data=data, left_out=left_out or report.card.left_out)
    write_report(replace(report, card=card), path, overwrite=overwrite)


def _sentence(text: str, remedy: str) -> str:
    return f"{text}; {remedy}" if remedy else text
