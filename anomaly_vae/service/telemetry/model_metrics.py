"""The metrics of the loaded models. Their labels are a model's name and version."""

from __future__ import annotations

import time

import numpy as np
from prometheus_client import CollectorRegistry, Counter, Gauge

from anomaly_vae.scorer import Scorer
from anomaly_vae.scores import Flags, Scores
from anomaly_vae.service.telemetry.drift_watch import DriftWatch
from anomaly_vae.service.telemetry.histogram import Histogram, Series
from anomaly_vae.service.telemetry.totals import RequestTotals

__all__ = ["ModelKey", "ModelMetrics", "ModelSeries"]

# Upper bounds of the buckets. Chosen, not measured: more bounds show more detail and cost more series.
_P_VALUES = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, *(j / 10 for j in range(1, 11)))
# The buckets of log p(x) end at these quantiles of the calibration scores. Chosen, not measured.
_QUANTILES = (0.001, 0.01, 0.05, *(j / 10 for j in range(1, 10)), 0.95, 0.99)
_OUTCOMES = ("normal", "anomaly", "invalid", "unflagged")
_LABELS = ("model_name", "model_version")

# A model's name and version.
ModelKey = tuple[str, str]


class ModelSeries:
    """What one model has done since it was loaded.

    Attributes:
        requests: Its requests.
        log_px, p_value: Their histograms.
        num_rows, num_batches: Rows that were scored or flagged, and the batches that they formed.
        drift: Have rows changed since the calibration? None for windows of series, which overlap.
    """

    def __init__(self, log_px: Series, p_value: Series, scorer: Scorer) -> None:
        """Start at zero."""
        self.requests = RequestTotals()
        self.log_px, self.p_value = log_px, p_value
        self.num_rows = self.num_batches = 0
        self.drift = None if scorer.schema.kind == "series" else DriftWatch(scorer)

    def add(self, scores: Scores | Flags) -> None:
        """Add a batch of rows. log p(x) and p-values are counted for the calibrated budget only."""
        self.num_batches += 1
        self.num_rows += len(scores)
        if isinstance(scores, Scores) and scores.p_value is not None:
            self.log_px.observe(scores.log_px)
            self.p_value.observe(scores.p_value)
            if self.drift is not None:
                self.drift.add(scores)


class ModelMetrics:
    """The series of all loaded models. The rows of a model that was removed are not counted any more."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Create the metrics, without a model."""
        self._registry = registry
        self._series: dict[ModelKey, ModelSeries] = {}
        self._add_rows()
        self._add_facts()

    def __getitem__(self, key: ModelKey) -> ModelSeries:
        """Return the series of a loaded model."""
        return self._series[key]

    def requests(self, key: ModelKey) -> RequestTotals:
        """Return the totals of a model's requests; for a model that was removed meanwhile, totals that nobody reads."""
        series = self._series.get(key)
        return RequestTotals() if series is None else series.requests

    def add(self, key: ModelKey, scorer: Scorer) -> None:
        """Set the facts of a model that was loaded, and start its series at zero."""
        self.remove(key)
        for outcome in _OUTCOMES:
            self._rows.labels(*key, outcome)
        self._explained.labels(*key)
        log_px = self._log_px.add_series(_calibration_quantiles(scorer), key)
        self._series[key] = series = ModelSeries(log_px, self._p_value.add_series(_P_VALUES, key), scorer)
        if series.drift is not None:
            self._log_martingale.labels(*key).set_function(series.drift.log_martingale)
            self._log_detector.labels(*key).set_function(series.drift.log_detector)
        self._set_facts(key, scorer)

    def remove(self, key: ModelKey) -> None:
        """Remove all series of a model."""
        series = self._series.pop(key, None)
        if series is None:
            return
        if series.drift is not None:  # a gauge and its function form a cycle, which would keep the calibration
            for gauge in (self._log_martingale, self._log_detector):
                gauge.labels(*key).set_function(float)
        for outcome in _OUTCOMES:
            self._rows.remove(*key, outcome)
        for histogram in (self._log_px, self._p_value):
            histogram.remove_series(key)
        self._info.remove_by_labels(dict(zip(_LABELS, key, strict=True)))
        gauges = (self._loaded, self._threshold, self._expected, self._calibration_rows, self._upper_threshold)
        for metric in (self._explained, self._log_martingale, self._log_detector, *gauges):
            if metric is not None:
                metric.remove_by_labels(dict(zip(_LABELS, key, strict=True)))

    def count_scores(self, key: ModelKey, scores: Scores | Flags) -> None:
        """Count a batch of scored or flagged rows."""
        series = self._series.get(key)
        if series is None:
            return
        if scores.is_anomaly is None:
            self._rows.labels(*key, "unflagged").inc(len(scores))
        else:
            anomalies = int(scores.is_anomaly.sum())
            self._rows.labels(*key, "anomaly").inc(anomalies)
            self._rows.labels(*key, "normal").inc(len(scores) - anomalies)
        series.add(scores)

    def count_explained(self, key: ModelKey, num_rows: int) -> None:
        """Count rows that were explained."""
        if key in self._series:
            self._explained.labels(*key).inc(num_rows)

    def count_invalid(self, key: ModelKey, num_rows: int) -> None:
        """Count the rows of a refused request."""
        if key in self._series:
            self._rows.labels(*key, "invalid").inc(num_rows)

    def _add_rows(self) -> None:
        registry = self._registry
        self._rows = Counter(
            "anomaly_vae_rows_total",
            "Rows by outcome; invalid counts all rows of a refused request, unflagged those of an uncalibrated budget.",
            (*_LABELS, "outcome"),
            registry=registry,
        )
        self._explained = Counter(
            "anomaly_vae_explained_rows_total", "Rows that were explained.", _LABELS, registry=registry
        )
        text = "log p(x) of rows; the buckets end at quantiles of the calibration scores."
        self._log_px = Histogram("anomaly_vae_log_px_nats", text, registry, _LABELS)
        text = "Conformal p-values of rows: uniform while the data are like the calibration rows."
        self._p_value = Histogram("anomaly_vae_p_value", text, registry, _LABELS)
        self._log_martingale = self._gauge(
            "drift_log_martingale", "Log of the evidence, since the model was loaded, that rows have changed, nats."
        )
        self._log_detector = self._gauge(
            "drift_log_detector", "Log of the evidence for a change at some row: above 23, rows have changed, nats."
        )

    def _add_facts(self) -> None:
        self._info = Gauge(
            "anomaly_vae_model_info", "A loaded model; always 1.", (*_LABELS, "format_version"), registry=self._registry
        )
        self._loaded = self._gauge("model_loaded_timestamp_seconds", "When the model was loaded.")
        self._calibration_rows = self._gauge(
            "calibration_rows", "Rows that set the threshold; with fewer rows it is less exact."
        )
        self._threshold = self._gauge("threshold_nats", "Rows with a score below it are anomalies.")
        self._upper_threshold: Gauge | None = None
        self._expected = self._gauge(
            "expected_anomaly_ratio",
            "Largest expected share of flagged rows, while the data are like the calibration rows.",
        )

    def _gauge(self, name: str, text: str) -> Gauge:
        return Gauge(f"anomaly_vae_{name}", text, _LABELS, registry=self._registry)

    def _set_facts(self, key: ModelKey, scorer: Scorer) -> None:
        calibration = scorer.bundle.manifest.calibration
        self._info.labels(*key, str(scorer.bundle.manifest.format_version)).set(1)
        self._loaded.labels(*key).set(time.time())
        self._threshold.labels(*key).set(calibration.threshold)
        self._expected.labels(*key).set(calibration.effective_fpr)
        self._calibration_rows.labels(*key).set(calibration.num_rows)
        if calibration.upper_threshold is not None:
            if self._upper_threshold is None:  # few models have one
                text = "Rows with a score above it are anomalies as well."
                self._upper_threshold = self._gauge("upper_threshold_nats", text)
            self._upper_threshold.labels(*key).set(calibration.upper_threshold)


def _calibration_quantiles(scorer: Scorer) -> list[float]:
    """Return the distinct quantiles of the calibration scores and the thresholds, to six digits, in order."""
    scores = scorer.bundle.calibration
    quantiles = np.quantile(scores, _QUANTILES).tolist() if len(scores) else []
    calibration = scorer.bundle.manifest.calibration
    thresholds = [calibration.threshold, calibration.upper_threshold]
    bounds = {float(f"{value:.6g}") for value in [*quantiles, *thresholds] if value is not None}
    return sorted(bounds)
