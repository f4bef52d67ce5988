"""Train on the rows of a table, for ``anomaly-vae train``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from anomaly_vae.arrays import FloatArray
from anomaly_vae.assessment.ranking import DetectionQuality, detection_quality
from anomaly_vae.calibration import normality
from anomaly_vae.cli.findings import as_json as findings_as_json
from anomaly_vae.cli.findings import refuse_left_out, show_findings
from anomaly_vae.cli.summary import print_summary
from anomaly_vae.cli.table_options import say_how_it_was_read
from anomaly_vae.cli.training_input import Selection, TrainingInput, read_training_input
from anomaly_vae.columns.findings import Finding
from anomaly_vae.columns.plan import model_rows
from anomaly_vae.errors import InvalidInput
from anomaly_vae.scorer import Scorer
from anomaly_vae.table import ReadOptions, open_table
from anomaly_vae.training.checkpoint import Checkpoint
from anomaly_vae.training.config import TrainConfig
from anomaly_vae.training.pipeline import TrainedModel, train_table
from anomaly_vae.training.progress_bar import ProgressCallbacks

__all__ = ["TableJob", "quality_of", "quality_of_rows"]


class TableJob:
    """The rows of a table: see :class:`~anomaly_vae.cli.training_job.TrainingJob`."""

    def __init__(
        self,
        input_: str,
        settings: TrainConfig,
        reading: ReadOptions,
        selection: Selection,
        *,
        strict: bool,
        as_json: bool,
        quiet: bool,
    ) -> None:
        """Read the table.

        Args:
            input_: Where it is.
            settings: Parameters of the training.
            reading: How to read a text file.
            selection: The columns that the user chose.
            strict: Refuse columns that cannot be used.
            as_json: If they are refused, print what was found as JSON.
            quiet: Print warnings only.
        """
        self._settings, self._selection, self._quiet, self._as_json = settings, selection, quiet, as_json
        self._required = None if strict else frozenset(selection.columns)
        table = open_table(input_, reading)
        say_how_it_was_read(table, quiet=quiet)
        self._rows = read_training_input(table, settings, selection, quiet=quiet)
        self.num_anomalous, self.findings = len(self._rows.anomalous), list[Finding]()

    def train(self, checkpoint: Checkpoint, bars: ProgressCallbacks) -> TrainedModel:
        """Train, export and calibrate a model."""
        return train_table(
            self._rows.table,
            self._settings,
            label=self._selection.label,
            checkpoint=checkpoint,
            report=bars.report,
            on_calibrated=bars.on_calibrated,
            on_findings=self._show,
        )

    def quality(self, model: TrainedModel) -> DetectionQuality | None:
        """Compare the rows marked as anomalies with those that calibrated the model; None if there are none."""
        return quality_of(model, self._rows)

    def lines(self, model: TrainedModel) -> list[str]:  # noqa: ARG002 (of all jobs)
        """Return no further lines."""
        return []

    def facts(self, model: TrainedModel) -> dict[str, Any]:  # noqa: ARG002 (of all jobs)
        """Return no further facts."""
        return {}

    def _show(self, findings: Sequence[Finding]) -> None:
        self.findings.extend(findings)
        try:
            refuse_left_out(findings, self._required)
        except InvalidInput as error:
            facts = {"error": str(error), "findings": findings_as_json(findings)}
            print_summary("", facts, as_json=self._as_json, quiet=True)
            raise
        show_findings(findings, quiet=self._quiet)


def quality_of(model: TrainedModel, rows: TrainingInput) -> DetectionQuality | None:
    """Compare the labelled anomalies with the calibration rows; None if there are none.

    Rows are ranked by their score, and with two thresholds by the distance to the nearer one.
    """
    if not len(rows.anomalous):
        return None
    schema = model.bundle.manifest.schema
    return quality_of_rows(model, model_rows(schema, rows.table, rows.anomalous))


def quality_of_rows(model: TrainedModel, anomalous: FloatArray) -> DetectionQuality:
    """Compare anomalous rows of the model, shape (N, D), with the calibration rows."""
    scorer, schema = Scorer(model.bundle), model.bundle.manifest.schema
    low, high = scorer.thresholds()
    scores = normality(scorer.score_rows(anomalous).score, low, high)
    known = normality(model.bundle.calibration, low, high)
    lowest = min(scores.min(), known.min()) - 1.0  # stands for rows that rank below all others
    normal = np.append(known, np.full(model.bundle.manifest.calibration.num_novel, lowest))
    return detection_quality(normal, np.where(schema.ranks_lowest(anomalous), lowest, scores))
