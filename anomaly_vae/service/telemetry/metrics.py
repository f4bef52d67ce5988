"""The Prometheus metrics of the service. Labels never depend on a row, a request or a client."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable

import grpc
import numpy as np
from prometheus_client import CollectorRegistry, Counter, Gauge, PlatformCollector, ProcessCollector

from anomaly_vae.scorer import Scorer
from anomaly_vae.scores import Flags, Scores
from anomaly_vae.service.telemetry.drift_watch import DriftWatch
from anomaly_vae.service.telemetry.histogram import Histogram, Series
from anomaly_vae.service.telemetry.totals import RequestTotals

__all__ = ["CallSeries", "Labels", "Metrics"]

# Upper bounds of the buckets. Chosen, not measured: more bounds show more detail and cost more series.
_SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
_STAGE_SECONDS = (0.00005, 0.0001, 0.0002, *_SECONDS)
_ROWS = tuple(float(4**j) for j in range(9))
_P_VALUES = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, *(j / 10 for j in range(1, 11)))
_ESS_RATIOS = (0.005, 0.01, 0.02, 0.05, *(j / 10 for j in range(1, 11)))
_SAMPLES = tuple(float(2**j) for j in range(4, 14))
# The buckets of log p(x) end at these quantiles of the calibration scores. Chosen, not measured.
_QUANTILES = (0.001, 0.01, 0.05, *(j / 10 for j in range(1, 10)), 0.95, 0.99)
_STAGES = ("queue", "decode", "infer", "explain", "encode")
_OUTCOMES = ("normal", "anomaly", "invalid", "unflagged")
_REASONS = ("queue_full", "deadline", "draining", "unauthenticated")

Labels = tuple[str, str, str]


class CallSeries:
    """The metrics of one method, looked up once."""

    def __init__(self, labels: Labels, started: Counter, handled: Counter, seconds: Series) -> None:
        """Start all series at zero, since a rate needs a first value."""
        self.started = started.labels(*labels)
        self.handled = {code: handled.labels(*labels, _code_name(code)) for code in grpc.StatusCode}
        self.seconds = seconds


class Metrics:
    """The metrics of one service, in their own registry."""

    def __init__(self, queue_limit_rows: int, queue_limit_bytes: int, queue_limit_seconds: float = math.inf) -> None:
        """Create the metrics that do not depend on a model, at zero."""
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self.requests = RequestTotals()
        self._calls: dict[Labels, CallSeries] = {}
        self._add_call_series()
        self._add_stages()
        self._add_queue(queue_limit_rows, queue_limit_bytes, queue_limit_seconds)
        self._add_row_histograms()
        self._add_model_gauges()
        self._add_drift()

    def call(self, labels: Labels) -> CallSeries:
        """Return the metrics of a method. The labels are grpc_type, grpc_service, grpc_method."""
        if labels not in self._calls:
            seconds = self._handling_seconds.add_series(_SECONDS, labels)
            self._calls[labels] = CallSeries(labels, self._started, self._handled, seconds)
        return self._calls[labels]

    def stage(self, stage: str) -> Series:
        """Return the series of seconds that requests spend in a stage: queue, decode, infer, explain or encode."""
        return self._stages[stage]

    def show_methods(self, labels: Iterable[Labels]) -> None:
        """Start the series of methods at zero."""
        for method in labels:
            self.call(method)

    def count_call(self, labels: Labels, code: grpc.StatusCode, seconds: float) -> None:
        """Count a call that has ended."""
        series = self.call(labels)
        series.handled[code].inc()
        series.seconds.observe_one(seconds)
        if code is grpc.StatusCode.DEADLINE_EXCEEDED and labels[0] == "unary":
            self.rejected.labels("deadline").inc()

    def count_stream_error(self, code: grpc.StatusCode) -> None:
        """Count a request within a stream that was answered with an error."""
        self._stream_errors[code].inc()
        if code is grpc.StatusCode.DEADLINE_EXCEEDED:
            self.rejected.labels("deadline").inc()

    def watch_queue(self, rows: Callable[[], int], num_bytes: Callable[[], int], seconds: Callable[[], float]) -> None:
        """Set the functions that return the state of the queue. They are called at each scrape."""
        self._queue_rows.set_function(rows)
        self._queue_bytes.set_function(num_bytes)
        self._queue_seconds.set_function(seconds)

    def serve_model(self, name: str, version: str, scorer: Scorer) -> None:
        """Set the gauges of a loaded model, and start its series at zero."""
        calibration = scorer.bundle.manifest.calibration
        for outcome in _OUTCOMES:
            self.rows.labels(version, outcome)
        self._explained.labels(version)
        log_px = self._log_px.add_series(_calibration_quantiles(scorer), (version,))
        self._calibrated[version] = log_px, self._p_value.add_series(_P_VALUES, (version,))
        self._watch_drift(version, scorer)
        self._info.labels(name, version, str(scorer.bundle.manifest.format_version)).set(1)
        self._loaded.set(time.time())
        self._threshold.set(calibration.threshold)
        if calibration.upper_threshold is not None:
            self._add_upper_threshold().set(calibration.upper_threshold)
        self._expected.set(calibration.effective_fpr)
        self._calibration_rows.set(calibration.num_rows)

    def count_scores(self, version: str, scores: Scores | Flags) -> None:
        """Count scored or flagged rows. log p(x) and p-values are counted for the calibrated budget only."""
        self._samples.observe(scores.num_samples.astype(np.float64))
        if scores.is_anomaly is None:
            self.rows.labels(version, "unflagged").inc(len(scores))
        else:
            anomalies = int(scores.is_anomaly.sum())
            self.rows.labels(version, "anomaly").inc(anomalies)
            self.rows.labels(version, "normal").inc(len(scores) - anomalies)
        if isinstance(scores, Flags):
            return
        self._ess_ratio.observe(scores.ess_ratio)
        if scores.p_value is not None:
            log_px, p_value = self._calibrated[version]
            log_px.observe(scores.log_px)
            p_value.observe(scores.p_value)
            if version in self._drift:
                self._drift[version].add(scores)

    def count_explained(self, version: str, num_rows: int) -> None:
        """Count rows that were explained."""
        self._explained.labels(version).inc(num_rows)

    def scored_rows(self, version: str) -> int:
        """Return how many rows were scored or flagged."""
        wanted = [{"model_version": version, "outcome": outcome} for outcome in _OUTCOMES if outcome != "invalid"]
        samples = [sample for family in self.rows.collect() for sample in family.samples if sample.labels in wanted]
        return int(sum(sample.value for sample in samples if sample.name.endswith("_total")))

    def count_invalid(self, version: str, num_rows: int) -> None:
        """Count the rows of a refused request."""
        self.rows.labels(version, "invalid").inc(num_rows)

    def _add_call_series(self) -> None:
        rpc, registry = ("grpc_type", "grpc_service", "grpc_method"), self.registry
        self._started = Counter("grpc_server_started_total", "RPCs started.", rpc, registry=registry)
        self._handled = Counter(
            "grpc_server_handled_total", "RPCs completed, by status code.", (*rpc, "grpc_code"), registry=registry
        )
        self._handling_seconds = Histogram("grpc_server_handling_seconds", "Time of RPCs in the server.", registry, rpc)
        text = "Requests of ModelStreamInfer answered with an error; their stream continues and may end with OK."
        errors = Counter("anomaly_vae_stream_errors_total", text, ("grpc_code",), registry=registry)
        self._stream_errors = {code: errors.labels(_code_name(code)) for code in grpc.StatusCode}

    def _add_stages(self) -> None:
        histogram = Histogram(
            "anomaly_vae_stage_seconds",
            "Time of a request: waiting (queue), being read (decode), scored (infer), explained and answered (encode).",
            self.registry,
            ("stage",),
        )
        self._stages = {stage: histogram.add_series(_STAGE_SECONDS, (stage,)) for stage in _STAGES}

    def _add_queue(self, limit_rows: int, limit_bytes: int, limit_seconds: float) -> None:
        registry = self.registry
        self.rejected = Counter(
            "anomaly_vae_rejected_total", "Requests refused without a score.", ("reason",), registry=registry
        )
        for reason in _REASONS:
            self.rejected.labels(reason)
        self._queue_rows = Gauge("anomaly_vae_queue_rows", "Rows admitted and not yet scored.", registry=registry)
        self._queue_bytes = Gauge("anomaly_vae_queue_bytes", "Bytes of those rows.", registry=registry)
        self._queue_seconds = Gauge(
            "anomaly_vae_queue_seconds",
            "Time until the rows that wait are scored, at the measured speed.",
            registry=registry,
        )
        for name, text, limit in (
            ("rows", "Most rows that may be admitted.", limit_rows),
            ("bytes", "Most bytes of those rows.", limit_bytes),
            ("seconds", "Most seconds of work that may wait.", limit_seconds),
        ):
            Gauge(f"anomaly_vae_queue_limit_{name}", text, registry=registry).set(limit)
        rows = Histogram("anomaly_vae_batch_rows", "Rows scored together, of one request or several.", registry)
        self.batch_rows = rows.add_series(_ROWS)

    def _add_row_histograms(self) -> None:
        registry, by_version = self.registry, ("model_version",)
        self.rows = Counter(
            "anomaly_vae_rows_total",
            "Rows by outcome; invalid counts all rows of a refused request, unflagged those of an uncalibrated budget.",
            ("model_version", "outcome"),
            registry=registry,
        )
        self._explained = Counter(
            "anomaly_vae_explained_rows_total", "Rows that were explained.", by_version, registry=registry
        )
        self._calibrated: dict[str, tuple[Series, Series]] = {}
        self._log_px = Histogram(
            "anomaly_vae_log_px_nats",
            "log p(x) of rows; the buckets end at quantiles of the calibration scores.",
            registry,
            by_version,
        )
        text = "Conformal p-values of rows: uniform while the data are like the calibration rows."
        self._p_value = Histogram("anomaly_vae_p_value", text, registry, by_version)
        text = "Effective sample size of a row, divided by its number of samples."
        self._ess_ratio = Histogram("anomaly_vae_ess_ratio", text, registry).add_series(_ESS_RATIOS)
        text = "Decoder evaluations spent on a row."
        self._samples = Histogram("anomaly_vae_samples_per_row", text, registry).add_series(_SAMPLES)

    def _add_model_gauges(self) -> None:
        registry = self.registry
        labels = ("model_name", "model_version", "format_version")
        self._info = Gauge("anomaly_vae_model_info", "The model served; always 1.", labels, registry=registry)
        self._loaded = Gauge(
            "anomaly_vae_model_loaded_timestamp_seconds", "When the model was loaded.", registry=registry
        )
        self._calibration_rows = Gauge(
            "anomaly_vae_calibration_rows",
            "Rows that set the threshold; with fewer rows it is less exact.",
            registry=registry,
        )
        self._threshold = Gauge(
            "anomaly_vae_threshold_nats", "Rows with a score below it are anomalies.", registry=registry
        )
        self._upper_threshold: Gauge | None = None
        self._expected = Gauge(
            "anomaly_vae_expected_anomaly_ratio",
            "Largest expected share of flagged rows, while the data are like the calibration rows.",
            registry=registry,
        )

    def _add_drift(self) -> None:
        self._drift: dict[str, DriftWatch] = {}
        self._log_martingale, self._log_detector = (
            Gauge(f"anomaly_vae_drift_log_{name}", text, ("model_version",), registry=self.registry)
            for name, text in (
                ("martingale", "Log of the evidence, since the model was loaded, that rows have changed, nats."),
                ("detector", "Log of the evidence for a change at some row: above 23, rows have changed, nats."),
            )
        )

    def _watch_drift(self, version: str, scorer: Scorer) -> None:
        """Start the detector of a version; windows of series overlap, so they have none."""
        if scorer.schema.kind == "series":
            return
        watch = self._drift[version] = DriftWatch(scorer)
        self._log_martingale.labels(version).set_function(watch.log_martingale)
        self._log_detector.labels(version).set_function(watch.log_detector)

    def _add_upper_threshold(self) -> Gauge:
        """Add the gauge of the upper threshold, which few models have."""
        if self._upper_threshold is None:
            self._upper_threshold = Gauge(
                "anomaly_vae_upper_threshold_nats",
                "Rows with a score above it are anomalies as well.",
                registry=self.registry,
            )
        return self._upper_threshold


def _code_name(code: grpc.StatusCode) -> str:
    """Return the name of a code as in the go-grpc metrics: OK, NotFound, Canceled."""
    special = {grpc.StatusCode.OK: "OK", grpc.StatusCode.CANCELLED: "Canceled"}
    return special.get(code) or code.name.title().replace("_", "")


def _calibration_quantiles(scorer: Scorer) -> list[float]:
    """Return the distinct quantiles of the calibration scores and the thresholds, to six digits, in order."""
    scores = scorer.bundle.calibration
    quantiles = np.quantile(scores, _QUANTILES).tolist() if len(scores) else []
    calibration = scorer.bundle.manifest.calibration
    thresholds = [calibration.threshold, calibration.upper_threshold]
    bounds = {float(f"{value:.6g}") for value in [*quantiles, *thresholds] if value is not None}
    return sorted(bounds)
