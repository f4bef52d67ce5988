"""What ``anomaly-vae train`` tells at its end, as text or as JSON."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from anomaly_vae.cli.findings import as_json
from anomaly_vae.columns.shapes import ImageShape, SeriesShape

if TYPE_CHECKING:
    from anomaly_vae.assessment.ranking import DetectionQuality
    from anomaly_vae.calibration import Calibration
    from anomaly_vae.cli.training_job import TrainingJob
    from anomaly_vae.columns.schema import Schema
    from anomaly_vae.training.pipeline import TrainedModel

__all__ = ["bits_per_dim", "describe", "facts_of"]

# What rows are called, and those that a label column marks.
_UNITS = {"table": "rows", "series": "windows", "image": "images"}
_MARKED = {"table": "rows", "series": "steps", "image": "images"}


def describe(model: TrainedModel, job: TrainingJob, quality: DetectionQuality | None, output: Path) -> str:
    """Return the result as lines of text."""
    training, calibration = model.bundle.manifest.training, model.bundle.manifest.calibration
    schema = model.bundle.manifest.schema
    unit = _UNITS[schema.kind]
    lines = [
        f"trained on {training.num_rows:,} {unit} of {_sizes(schema)}, best at step {training.best_step} of "
        f"{training.steps}: held-out ELBO {training.held_out_elbo:.2f} nats{_bits(schema, training.held_out_elbo)}",
        *job.lines(model),
        f"{_thresholds(calibration)} nats from {_calibration_rows(model)}, "
        f"false-positive rate at most {calibration.effective_fpr:.4g}",
    ]
    if quality is not None:
        lines.append(
            f"AUROC {quality.auroc:.4f}, average precision {quality.average_precision:.4f} "
            f"({_compared(model)} against {job.num_anomalous:,} {_MARKED[schema.kind]} marked 1)"
        )
    new = "NEW" if schema.kind == "image" else "NEW.csv"
    lines.append(f"wrote {output}; next: anomaly-vae score {output} {new} -o scores.csv")
    return "\n".join(lines)


def _sizes(schema: Schema) -> str:
    """Return what a row is."""
    shape = schema.shape
    if isinstance(shape, SeriesShape):
        return f"{shape.length} steps x {_counted(len(shape.channels), 'channel')}"
    if isinstance(shape, ImageShape):
        return f"{shape.height} x {shape.width} pixels x {_counted(shape.channels, 'channel')}"
    kinds = Counter(column.kind for column in schema.columns)
    counts = ", ".join(f"{count} {kind}" for kind, count in kinds.items()) if len(kinds) > 1 else ""
    return f"{len(schema.columns)} columns" + (f" ({counts})" if counts else "")


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def bits_per_dim(schema: Schema, log_px: float) -> float:
    """Return nats of an image as bits for each value of a pixel: lower is better."""
    return -log_px / (len(schema.columns) * math.log(2.0))


def _bits(schema: Schema, elbo: float) -> str:
    return f" ({bits_per_dim(schema, elbo):.4g} bits per dimension)" if schema.kind == "image" else ""


def _calibration_rows(model: TrainedModel) -> str:
    """Return how many rows calibrated the model; of windows that overlap, fewer count."""
    schema, counted, total = (
        model.bundle.manifest.schema,
        model.bundle.manifest.calibration.num_rows,
        len(model.split.calibration),
    )
    if schema.kind == "series" and counted < total:
        return f"{total:,} calibration windows, which overlap and count as {counted:,} independent ones"
    return f"{counted:,} calibration {_UNITS[schema.kind]}"


def _compared(model: TrainedModel) -> str:
    if model.bundle.manifest.schema.kind == "series":
        return "calibration steps"
    return _calibration_rows(model)


def _thresholds(calibration: Calibration) -> str:
    low, high = calibration.threshold, calibration.upper_threshold
    return f"threshold {low:.6g}" if high is None else f"thresholds {low:.6g} and {high:.6g}"


def facts_of(model: TrainedModel, job: TrainingJob, quality: DetectionQuality | None, seconds: float) -> dict[str, Any]:
    """Return the result as plain values."""
    training, calibration = model.bundle.manifest.training, model.bundle.manifest.calibration
    schema = model.bundle.manifest.schema
    return {
        "kind": schema.kind,
        "rows": training.num_rows,
        "columns": _columns(schema),
        "findings": as_json(job.findings),
        "steps": training.steps,
        "held_out_elbo": training.held_out_elbo,
        **({"bits_per_dim": bits_per_dim(schema, training.held_out_elbo)} if schema.kind == "image" else {}),
        "interrupted": training.interrupted,
        "threshold": calibration.threshold,
        "upper_threshold": calibration.upper_threshold,
        "effective_fpr": calibration.effective_fpr,
        "calibration_rows": calibration.num_rows,
        "auroc": None if quality is None else quality.auroc,
        "average_precision": None if quality is None else quality.average_precision,
        "gates": msgspec.to_builtins(training.gates),
        "bundle_digest": model.bundle.digest,
        "seconds": seconds,
        **job.facts(model),
    }


def _columns(schema: Schema) -> list[dict[str, str]]:
    """Return the columns; of windows and images, the channels."""
    shape, columns = schema.shape, schema.columns
    if shape is None:
        return [{"name": column.name, "kind": column.kind} for column in columns]
    names = shape.channels if isinstance(shape, SeriesShape) else [f"channel {c}" for c in range(shape.channels)]
    return [{"name": name, "kind": columns[c].kind} for c, name in enumerate(names)]
