"""What the service tells Prometheus. Labels never depend on a row, a request or a client."""

from __future__ import annotations

import time
from collections.abc import Iterable

import grpc
import numpy as np
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, PlatformCollector, ProcessCollector

from anomaly_vae.scorer import Scorer
from anomaly_vae.scores import Flags, Scores
from anomaly_vae.service.histogram import RowHistogram

__all__ = ["Metrics"]

_SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
_STAGE_SECONDS = (0.00005, 0.0001, 0.0002, *_SECONDS)
_ROWS = tuple(float(4**j) for j in range(9))
_P_VALUES = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, *(j / 10 for j in range(1, 11)))
_ESS_RATIOS = (0.005, 0.01, 0.02, 0.05, *(j / 10 for j in range(1, 11)))
_SAMPLES = tuple(float(2**j) for j in range(4, 14))
_QUANTILES = (0.001, 0.01, 0.05, *(j / 10 for j in range(1, 10)), 0.95, 0.99)
_STAGES = ("queue", "decode", "infer", "encode")
_OUTCOMES = ("normal", "anomaly", "invalid", "unflagged")
_REASONS = ("queue_full", "deadline", "draining")


class Metrics:
    """The instruments of one service, in a registry of their own."""

    def __init__(self, queue_limit_rows: int) -> None:
        """Create everything that does not depend on a model, at zero."""
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        rpc = ("grpc_type", "grpc_service", "grpc_method")
        self.started = Counter("grpc_server_started_total", "RPCs started.", rpc, registry=registry)
        self.handled = Counter(
            "grpc_server_handled_total", "RPCs completed, by status code.", (*rpc, "grpc_code"), registry=registry
        )
        self.handling_seconds = Histogram(
            "grpc_server_handling_seconds", "Time of RPCs in the server.", rpc, registry=registry, buckets=_SECONDS
        )
        self.stage_seconds = Histogram(
            "anomaly_vae_stage_seconds",
            "Time a request spends waiting (queue), being read (decode), scored (infer) and answered (encode).",
            ("stage",),
            registry=registry,
            buckets=_STAGE_SECONDS,
        )
        self.rejected = Counter(
            "anomaly_vae_rejected_total", "Requests turned away without a score.", ("reason",), registry=registry
        )
        self.queue_rows = Gauge("anomaly_vae_queue_rows", "Rows admitted and not yet scored.", registry=registry)
        queue_limit = Gauge("anomaly_vae_queue_limit_rows", "Most rows that may be admitted.", registry=registry)
        queue_limit.set(queue_limit_rows)
        self.batch_rows = Histogram("anomaly_vae_batch_rows", "Rows scored together.", registry=registry, buckets=_ROWS)
        self.rows = Counter(
            "anomaly_vae_rows_total",
            "Rows by outcome; invalid counts all rows of a refused request, unflagged those of an uncalibrated budget.",
            ("model_version", "outcome"),
            registry=registry,
        )
        for stage in _STAGES:
            self.stage_seconds.labels(stage)
        for reason in _REASONS:
            self.rejected.labels(reason)
        self._add_row_histograms()
        self._add_model_gauges()

    def show_methods(self, labels: Iterable[tuple[str, str, str]]) -> None:
        """Start the series of methods at zero: a rate needs a value to start from."""
        for method in labels:
            self.started.labels(*method)
            self.handling_seconds.labels(*method)
            for code in grpc.StatusCode:
                self.handled.labels(*method, _code_name(code))

    def count_call(self, labels: tuple[str, str, str], code: grpc.StatusCode, seconds: float) -> None:
        """Count a call that has ended."""
        self.handled.labels(*labels, _code_name(code)).inc()
        self.handling_seconds.labels(*labels).observe(seconds)
        if code is grpc.StatusCode.DEADLINE_EXCEEDED and labels[0] == "unary":
            self.rejected.labels("deadline").inc()

    def serve_model(self, name: str, version: str, scorer: Scorer) -> None:
        """Show a loaded model, and start its series at zero."""
        calibration = scorer.bundle.manifest.calibration
        for outcome in _OUTCOMES:
            self.rows.labels(version, outcome)
        self._log_px.add_series(_calibration_quantiles(scorer), (version,))
        self._p_value.add_series(_P_VALUES, (version,))
        self._info.labels(name, version, str(scorer.bundle.manifest.format_version)).set(1)
        self._loaded.set(time.time())
        self._threshold.set(calibration.threshold)
        self._expected.set(calibration.effective_fpr)
        self._calibration_rows.set(calibration.num_rows)

    def count_scores(self, version: str, scores: Scores | Flags) -> None:
        """Count scored or decided rows; log p(x) and p-values only where there are calibrated ones."""
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
            self._log_px.observe(scores.log_px, (version,))
            self._p_value.observe(scores.p_value, (version,))

    def count_invalid(self, version: str, num_rows: int) -> None:
        """Count the rows of a refused request."""
        self.rows.labels(version, "invalid").inc(num_rows)

    def _add_row_histograms(self) -> None:
        by_version = ("model_version",)
        self._log_px = RowHistogram(
            "anomaly_vae_log_px_nats",
            "log p(x) of rows; the buckets end at quantiles of the calibration scores.",
            self.registry,
            by_version,
        )
        self._p_value = RowHistogram(
            "anomaly_vae_p_value", "Conformal p-values of rows: uniform while data are as calibrated.",
            self.registry, by_version,
        )  # fmt: skip
        self._ess_ratio = RowHistogram(
            "anomaly_vae_ess_ratio", "Effective share of the samples of a row.", self.registry
        )
        self._ess_ratio.add_series(_ESS_RATIOS)
        self._samples = RowHistogram(
            "anomaly_vae_samples_per_row", "Decoder evaluations spent on a row.", self.registry
        )
        self._samples.add_series(_SAMPLES)

    def _add_model_gauges(self) -> None:
        registry = self.registry
        labels = ("model_name", "model_version", "format_version")
        self._info = Gauge("anomaly_vae_model_info", "The model served; always 1.", labels, registry=registry)
        self._loaded = Gauge(
            "anomaly_vae_model_loaded_timestamp_seconds", "When the model was loaded.", registry=registry
        )
        self._calibration_rows = Gauge(
            "anomaly_vae_calibration_rows", "Rows that set the threshold: fewer make it vaguer.", registry=registry
        )
        self._threshold = Gauge(
            "anomaly_vae_threshold_nats", "Rows with log p(x) below it are anomalies.", registry=registry
        )
        self._expected = Gauge(
            "anomaly_vae_expected_anomaly_ratio",
            "Share of rows flagged, at most, while all are as calibrated.",
            registry=registry,
        )


def _code_name(code: grpc.StatusCode) -> str:
    """The name as the go-grpc metrics spell it: OK, NotFound, Canceled."""
    special = {grpc.StatusCode.OK: "OK", grpc.StatusCode.CANCELLED: "Canceled"}
    return special.get(code) or code.name.title().replace("_", "")


def _calibration_quantiles(scorer: Scorer) -> list[float]:
    """Distinct quantiles of the calibration scores, to six digits, with the threshold among them."""
    scores = scorer.bundle.calibration
    quantiles = np.quantile(scores, _QUANTILES).tolist() if len(scores) else []
    bounds = {float(f"{value:.6g}") for value in [*quantiles, scorer.threshold]}
    return sorted(bounds)
