"""Train on windows of time series, for ``anomaly-vae train --window``."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from anomaly_vae.assessment.ranking import DetectionQuality, detection_quality
from anomaly_vae.calibration import normality
from anomaly_vae.cli.reporting import warn
from anomaly_vae.cli.series_input import read_series_table, say_notes
from anomaly_vae.cli.step_quality import scores_of_steps
from anomaly_vae.cli.table_options import say_how_it_was_read
from anomaly_vae.cli.training_input import Selection
from anomaly_vae.columns.findings import Finding
from anomaly_vae.errors import InvalidInput
from anomaly_vae.scorer import Scorer
from anomaly_vae.series.clock import shown_step
from anomaly_vae.series.labelled import without_rows
from anomaly_vae.series.tables import TrainingPanel, to_training_panel
from anomaly_vae.series.windows import all_windows
from anomaly_vae.table import ReadOptions, open_table
from anomaly_vae.training.checkpoint import Checkpoint
from anomaly_vae.training.config import TrainConfig
from anomaly_vae.training.pipeline import TrainedModel
from anomaly_vae.training.progress_bar import ProgressCallbacks
from anomaly_vae.training.windows import train_series, window_length

__all__ = ["SeriesJob"]

# Normal steps that the anomalous ones are compared with, at most. Chosen, not measured: it bounds the time.
_MOST_NORMAL_STEPS = 5000


class SeriesJob:
    """Windows of time series: see :class:`~anomaly_vae.cli.training_job.TrainingJob`."""

    def __init__(
        self, input_: str, settings: TrainConfig, reading: ReadOptions, selection: Selection, *, quiet: bool
    ) -> None:
        """Read the series.

        Args:
            input_: The table with one step per row.
            settings: Parameters of the training.
            reading: How to read a text file.
            selection: The columns that the user chose. Steps with another label than 0 are in no window.
            quiet: Print warnings only.
        """
        table = open_table(input_, reading)
        source = table.source
        say_how_it_was_read(table, quiet=quiet)
        names = _chosen(source.names, settings, selection)
        keeps_steps = settings.timestamp is None and settings.series is None
        rows = read_series_table(source, names, selection.label, keeps_steps=keeps_steps)
        try:
            self._all = to_training_panel(
                rows.columns,
                timestamp=settings.timestamp,
                series=settings.series,
                missing_values=settings.missing_values,
                decimals=source.certain_decimals,
                numbers=rows.numbers,
            )
        except InvalidInput as error:
            text = f"{source.where}: {error} (options --timestamp, --series, --exclude)"
            raise InvalidInput(text, field=error.field) from error
        say_notes(self._all.panel, quiet=quiet)
        self._is_anomalous = np.zeros(len(rows.columns), dtype=bool)
        self._data, self._settings = self._all, settings
        if rows.labels is not None:
            self._is_anomalous = rows.labels == 1.0
            self._data = self._all._replace(panel=without_rows(self._all.panel, rows.labels != 0.0))
        self.num_anomalous, self.findings = int(self._is_anomalous.sum()), list[Finding]()
        self._length = window_length(self._data, settings)

    def train(self, checkpoint: Checkpoint, bars: ProgressCallbacks) -> TrainedModel:
        """Train, export and calibrate a model."""
        return train_series(
            self._data, self._settings, checkpoint=checkpoint, report=bars.report, on_calibrated=bars.on_calibrated
        )

    def quality(self, model: TrainedModel) -> DetectionQuality | None:
        """Compare the steps marked as anomalies with the steps at which calibration windows end; None without any."""
        if not self.num_anomalous:
            return None
        scorer = Scorer(model.bundle)
        normal = self._calibration_rows(model)
        wanted = self._is_anomalous.copy()
        wanted[normal] = True
        scores = scores_of_steps(
            lambda rows: scorer.score_rows(rows).score, self._all.panel, self._length.length, wanted
        )
        scores = normality(scores, *scorer.thresholds())
        marked, usual = scores[self._is_anomalous], scores[normal]
        marked, usual = marked[~np.isnan(marked)], usual[~np.isnan(usual)]
        if not len(marked) or not len(usual):
            warn("no window covers the steps marked 1, so that there is no AUROC")
            return None
        return detection_quality(usual, marked)

    def lines(self, model: TrainedModel) -> list[str]:  # noqa: ARG002 (of all jobs)
        """Return a line about the series and the length of the windows."""
        return [f"{self._series_text()}: {_length_text(self._settings, *self._length)}"]

    def facts(self, model: TrainedModel) -> dict[str, Any]:
        """Return what the windows are."""
        roles, panel = self._data.roles, self._data.panel
        return {
            "window": {
                "length": self._length.length,
                "period": self._length.period,
                "stride": self._settings.stride,
                "step_seconds": panel.step_seconds,
                "timestamp": roles.timestamp,
                "series": roles.series,
            },
            "series": _num_series(self._data),
            "notes": list(panel.notes),
            "calibration_windows": len(model.split.calibration),
        }

    def _calibration_rows(self, model: TrainedModel) -> NDArray[np.intp]:
        """Return input rows at which calibration windows end."""
        segments = self._data.panel.segments(self._length.length)
        places = all_windows(segments, self._length.length, self._settings.stride)[model.split.calibration]
        rows = [int(segments[s].rows[end]) for s, end in zip(places.segment, places.end, strict=True)]
        return np.array([row for row in rows if row >= 0][:_MOST_NORMAL_STEPS], dtype=np.intp)

    def _series_text(self) -> str:
        panel, count = self._data.panel, _num_series(self._data)
        step = "" if panel.step_seconds is None else f", one step per {shown_step(panel.step_seconds)}"
        steps = sum(len(each.rows) for each in panel.series)
        return f"{count} series with {steps:,} steps{step}"


def _chosen(found: tuple[str, ...], settings: TrainConfig, selection: Selection) -> list[str]:
    """Return the columns to read: those that the user chose, the times and the names of the series."""
    given = (
        *(("--columns", name) for name in selection.columns),
        *(("--exclude", name) for name in selection.exclude),
        *(("--label", name) for name in (selection.label,) if name is not None),
        *(("--timestamp", name) for name in (settings.timestamp,) if name is not None),
        *(("--series", name) for name in (settings.series,) if name is not None),
        *(("[columns]", name) for name in settings.columns),
    )
    for option, name in given:
        if name not in found:
            raise InvalidInput(
                f"{option} {name}: the input has no such column; it has {', '.join(filter(None, found[:10]))}"
            )
    roles = {settings.timestamp, settings.series}
    if selection.label is not None and selection.label in roles | set(selection.columns):
        raise InvalidInput(f"--label {selection.label}: the column is also named in another option")
    excluded = {name for name, kind in settings.columns.items() if kind == "exclude"} | set(selection.exclude)
    if unnamed := [str(d + 1) for d, name in enumerate(found) if not name]:
        warn(f"column number {', '.join(unnamed)} has no name: left out")
    is_chosen = set(selection.columns) or set(found)
    return [
        name
        for name in found
        if name and name != selection.label and name not in excluded and (name in is_chosen or name in roles)
    ]


def _num_series(data: TrainingPanel) -> int:
    return len({each.name for each in data.panel.series})


def _length_text(settings: TrainConfig, length: int, period: int | None) -> str:
    if isinstance(settings.window, int):
        return f"windows of {length} steps, as set"
    if period is None:
        return f"windows of {length} steps, as no period shows"
    return f"windows of {length} steps for a period of {period}"
