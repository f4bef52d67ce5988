"""What ``anomaly-vae train`` needs of its input, be it a table of rows, time series or images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from anomaly_vae.assessment.ranking import DetectionQuality
    from anomaly_vae.columns.findings import Finding
    from anomaly_vae.training.checkpoint import Checkpoint
    from anomaly_vae.training.pipeline import TrainedModel
    from anomaly_vae.training.progress_bar import ProgressCallbacks

__all__ = ["TrainingJob"]


class TrainingJob(Protocol):
    """Data that were read to train on.

    Attributes:
        findings: What the user should know about the columns; complete after the training.
        num_anomalous: Rows marked as anomalies.
    """

    findings: list[Finding]
    num_anomalous: int

    def train(self, checkpoint: Checkpoint, bars: ProgressCallbacks) -> TrainedModel:
        """Train, export and calibrate a model."""
        ...

    def quality(self, model: TrainedModel) -> DetectionQuality | None:
        """Compare the rows marked as anomalies with those that calibrated the model; None if there are none."""
        ...

    def lines(self, model: TrainedModel) -> list[str]:
        """Return lines for the summary, beside those that all kinds of data have."""
        ...

    def facts(self, model: TrainedModel) -> dict[str, Any]:
        """Return plain values for the summary as JSON, beside those that all kinds of data have."""
        ...
