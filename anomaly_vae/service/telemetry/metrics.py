"""The Prometheus metrics of the service. Labels never depend on a row, a request or an unknown client."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import grpc
import numpy as np
from prometheus_client import CollectorRegistry, Counter, Gauge, PlatformCollector, ProcessCollector

from anomaly_vae.scores import Flags, Scores
from anomaly_vae.service.telemetry.caller_metrics import CallerMetrics
from anomaly_vae.service.telemetry.change_metrics import ChangeMetrics, ShadowMetrics
from anomaly_vae.service.telemetry.histogram import Histogram, Series
from anomaly_vae.service.telemetry.model_metrics import ModelKey, ModelMetrics
from anomaly_vae.service.telemetry.records import current_caller

__all__ = ["CallSeries", "Labels", "Metrics"]

# Upper bounds of the buckets. Chosen, not measured: more bounds show more detail and cost more series.
_SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
_STAGE_SECONDS = (0.00005, 0.0001, 0.0002, *_SECONDS)
_ROWS = tuple(float(4**j) for j in range(9))
_ESS_RATIOS = (0.005, 0.01, 0.02, 0.05, *(j / 10 for j in range(1, 11)))
_SAMPLES = tuple(float(2**j) for j in range(4, 14))
_STAGES = ("queue", "decode", "infer", "explain", "encode")
_REASONS = ("queue_full", "rows_per_second", "outstanding_rows", "deadline", "draining", "unauthenticated")

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
        self.models = ModelMetrics(self.registry)
        self.changes = ChangeMetrics(self.registry)
        self.shadows = ShadowMetrics(self.registry)
        self.callers = CallerMetrics(self.registry)
        self._calls: dict[Labels, CallSeries] = {}
        self._add_call_series()
        self._add_stages()
        self._add_queue(queue_limit_rows, queue_limit_bytes, queue_limit_seconds)
        self._add_row_histograms()

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
            self.reject("deadline")

    def count_stream_error(self, code: grpc.StatusCode) -> None:
        """Count a request within a stream that was answered with an error."""
        self._stream_errors[code].inc()
        if code is grpc.StatusCode.DEADLINE_EXCEEDED:
            self.reject("deadline")

    def reject(self, reason: str) -> None:
        """Count a request of the current caller that is refused without a score."""
        self.rejected.labels(reason).inc()
        self.callers.count_rejected(current_caller(), reason)

    def watch_queue(self, rows: Callable[[], int], num_bytes: Callable[[], int], seconds: Callable[[], float]) -> None:
        """Set the functions that return the state of the queue. They are called at each scrape."""
        self._queue_rows.set_function(rows)
        self._queue_bytes.set_function(num_bytes)
        self._queue_seconds.set_function(seconds)

    def count_scores(self, key: ModelKey, scores: Scores | Flags) -> None:
        """Count scored or flagged rows of a model, which are a batch or the end of one."""
        self._samples.observe(scores.num_samples.astype(np.float64))
        if isinstance(scores, Scores):
            self._ess_ratio.observe(scores.ess_ratio)
        self.models.count_scores(key, scores)

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
        registry = self.registry
        text = "Effective sample size of a row, divided by its number of samples."
        self._ess_ratio = Histogram("anomaly_vae_ess_ratio", text, registry).add_series(_ESS_RATIOS)
        text = "Decoder evaluations spent on a row."
        self._samples = Histogram("anomaly_vae_samples_per_row", text, registry).add_series(_SAMPLES)


def _code_name(code: grpc.StatusCode) -> str:
    """Return the name of a code as in the go-grpc metrics: OK, NotFound, Canceled."""
    special = {grpc.StatusCode.OK: "OK", grpc.StatusCode.CANCELLED: "Canceled"}
    return special.get(code) or code.name.title().replace("_", "")
