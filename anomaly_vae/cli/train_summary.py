"""What ``anomaly-vae train`` tells at its end, as text or as JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from anomaly_vae.cli.findings import as_json
from anomaly_vae.columns.plan import model_rows
from anomaly_vae.scorer import Scorer

if TYPE_CHECKING:
    from anomaly_vae.cli.training_input import TrainingInput
    from anomaly_vae.columns.findings import Finding
    from anomaly_vae.training.pipeline import TrainedModel
    from anomaly_vae.training.quality import DetectionQuality

__all__ = ["describe", "facts_of", "quality_of"]


def quality_of(model: TrainedModel, rows: TrainingInput) -> DetectionQuality | None:
    """Compare the labelled anomalies with the calibration rows; None if there are none."""
    if not len(rows.anomalous):
        return None
    from anomaly_vae.training.quality import detection_quality

    scorer, schema = Scorer(model.bundle), model.bundle.manifest.schema
    anomalous = model_rows(schema, rows.table, rows.anomalous)
    scores = scorer.score_rows(anomalous).score
    lowest = min(scores.min(), model.bundle.calibration[0]) - 1.0  # stands for rows that rank below all others
    normal = np.append(model.bundle.calibration, np.full(model.bundle.manifest.calibration.num_novel, lowest))
    return detection_quality(normal, np.where(schema.ranks_lowest(anomalous), lowest, scores))


def describe(model: TrainedModel, rows: TrainingInput, quality: DetectionQuality | None, output: Path) -> str:
    """Return the result as lines of text."""
    training, calibration = model.bundle.manifest.training, model.bundle.manifest.calibration
    schema = model.bundle.manifest.schema
    kinds = Counter(column.kind for column in schema.columns)
    counts = ", ".join(f"{count} {kind}" for kind, count in kinds.items()) if len(kinds) > 1 else ""
    lines = [
        f"trained on {training.num_rows:,} rows of {len(schema.columns)} columns"
        + (f" ({counts})" if counts else "")
        + f", best at step {training.best_step} of {training.steps}: held-out ELBO {training.held_out_elbo:.2f} nats",
        f"threshold {calibration.threshold:.6g} nats from {calibration.num_rows:,} calibration rows, "
        f"false-positive rate at most {calibration.effective_fpr:.4g}",
    ]
    if quality is not None:
        lines.append(
            f"AUROC {quality.auroc:.4f}, average precision {quality.average_precision:.4f} "
            f"({calibration.num_rows:,} calibration rows against {len(rows.anomalous):,} rows marked 1)"
        )
    lines.append(f"wrote {output}; next: anomaly-vae score {output} NEW.csv -o scores.csv")
    return "\n".join(lines)


def facts_of(
    model: TrainedModel, findings: Sequence[Finding], quality: DetectionQuality | None, seconds: float
) -> dict[str, Any]:
    """Return the result as plain values."""
    training, calibration = model.bundle.manifest.training, model.bundle.manifest.calibration
    columns = model.bundle.manifest.schema.columns
    return {
        "rows": training.num_rows,
        "columns": [{"name": column.name, "kind": column.kind} for column in columns],
        "findings": as_json(findings),
        "steps": training.steps,
        "held_out_elbo": training.held_out_elbo,
        "interrupted": training.interrupted,
        "threshold": calibration.threshold,
        "effective_fpr": calibration.effective_fpr,
        "calibration_rows": calibration.num_rows,
        "auroc": None if quality is None else quality.auroc,
        "average_precision": None if quality is None else quality.average_precision,
        "gates": msgspec.to_builtins(training.gates),
        "bundle_digest": model.bundle.digest,
        "seconds": seconds,
    }
