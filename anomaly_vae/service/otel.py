"""Spans by OpenTelemetry, sent in batches by a thread of its own. Imported only where spans are asked for."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from importlib import metadata
from typing import Any

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanContext, SpanKind, TraceFlags, TraceState
from opentelemetry.trace.status import Status, StatusCode

from anomaly_vae.errors import ConfigError
from anomaly_vae.service.logs import event
from anomaly_vae.service.records import CallRecord
from anomaly_vae.service.tracing import Span, TraceContext

__all__ = ["OtelTracer"]

_LOG = logging.getLogger("anomaly_vae.service")

_SECONDS_PER_COMPLAINT = 60.0
_SECONDS_TO_HANG_UP = 0.5
_NANOSECONDS = 1e9
_VERSION = metadata.version("anomaly_vae")

# What of a server's is an error, by https://opentelemetry.io/docs/specs/semconv/rpc/grpc: the rest is the caller's.
_ERRORS = frozenset({"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"})


class OtelTracer:
    """Makes a server span of each call and sends it to an OTLP collector by gRPC.

    The standard ``OTEL_*`` variables set whatever has no option of its own: sampling, batching, headers, certificates,
    resource. A collector that fails costs nothing but its spans: the queue of the SDK is bounded.
    """

    enabled = True

    def __init__(self, endpoint: str | None) -> None:
        """Start the sending thread; nothing is connected yet.

        Args:
            endpoint: The collector's URL; None takes the one of the variables.

        Raises:
            ConfigError: The SDK refuses what a variable says.
        """
        try:
            self._exporter = OTLPSpanExporter(endpoint=endpoint)
            self._provider = TracerProvider(resource=_resource(), shutdown_on_exit=False)
            self._provider.add_span_processor(BatchSpanProcessor(self._exporter))
        except Exception as error:  # (whatever the SDK makes of a bad variable)
            raise ConfigError(f"OpenTelemetry refuses its settings, see the OTEL_* variables: {error}") from error
        self._tracer = self._provider.get_tracer("anomaly_vae", _VERSION)
        libraries = logging.getLogger("opentelemetry")
        libraries.handlers[:] = [_Complaints()]
        libraries.propagate = False

    def start(self, method: str, parent: TraceContext | None) -> Span:
        """A span for a call of ``package.Service/Method``, below the caller's."""
        context = Context() if parent is None else trace.set_span_in_context(_remote(parent), Context())
        started = time.time_ns()
        attributes = {"rpc.system.name": "grpc", "rpc.method": method}
        span = self._tracer.start_span(method, context, SpanKind.SERVER, attributes, start_time=started)
        return _OtelSpan(self._tracer, span, started, parent)

    def close(self, seconds: float) -> None:
        """Send what is left, within so many seconds; then hang up."""
        sending = threading.Thread(target=self._provider.shutdown, name="last-spans", daemon=True)
        sending.start()
        sending.join(seconds)
        if sending.is_alive():
            _LOG.warning("the last spans were not sent within %.1f s", seconds, extra=event("tracing"))
            self._exporter.shutdown()
            sending.join(_SECONDS_TO_HANG_UP)


class _OtelSpan:
    def __init__(self, tracer: Any, span: Any, started: int, parent: TraceContext | None) -> None:
        context = span.get_span_context()
        self._tracer = tracer
        self._span = span
        # Stages are timed by perf_counter, spans by the time of day.
        self._epoch = started - round(_NANOSECONDS * time.perf_counter())
        self.recording = bool(span.is_recording())
        self.trace = TraceContext(
            f"{context.trace_id:032x}",
            f"{context.span_id:016x}",
            context.trace_flags.sampled,
            parent_id=parent.span_id if parent else "",
        )

    def end(self, record: CallRecord) -> None:
        """Send it off with its stages below it."""
        if not self.recording:
            return
        below = trace.set_span_in_context(self._span, Context())
        for name, start, end in record.stages or ():
            stage = self._tracer.start_span(name, below, start_time=self._time(start))
            stage.end(self._time(end))
        self._span.set_attributes(_attributes(record))
        if record.code.name in _ERRORS:
            self._span.set_status(Status(StatusCode.ERROR))
        self._span.end()

    def _time(self, seconds: float) -> int:
        return self._epoch + round(_NANOSECONDS * seconds)


def _attributes(record: CallRecord) -> dict[str, str | int]:
    attributes: dict[str, str | int] = {"rpc.response.status_code": record.code.name}
    if record.code.name in _ERRORS:
        attributes["error.type"] = record.code.name
    optional: dict[str, str | int] = {
        "anomaly_vae.rows": record.rows,
        "anomaly_vae.model_version": record.model_version,
        "anomaly_vae.request_id": record.request_id,
        "exception.type": record.error_type,
    }
    return attributes | {name: value for name, value in optional.items() if value}


def _remote(parent: TraceContext) -> trace.NonRecordingSpan:
    flags = TraceFlags(TraceFlags.SAMPLED if parent.sampled else TraceFlags.DEFAULT)
    state = TraceState.from_header([parent.state])
    context = SpanContext(int(parent.trace_id, 16), int(parent.span_id, 16), is_remote=True, trace_flags=flags,
                          trace_state=state)  # fmt: skip
    return trace.NonRecordingSpan(context)


def _resource() -> Resource:
    """What the variables say this service is, and what is known where they are silent."""
    said = Resource.create()
    ours = {SERVICE_VERSION: _VERSION, **said.attributes}
    if str(said.attributes.get(SERVICE_NAME, "")).startswith("unknown_service"):
        ours[SERVICE_NAME] = "anomaly_vae"
    return said.merge(Resource(ours))


class _Complaints(logging.Handler):
    """Passes on what OpenTelemetry complains of, which is a collector that is away: once a minute, in one line."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(logging.WARNING)
        self._clock = clock
        self._quiet_until = clock()

    def emit(self, record: logging.LogRecord) -> None:
        """Log it as ours, unless another was just logged."""
        now = self._clock()
        if now >= self._quiet_until:
            self._quiet_until = now + _SECONDS_PER_COMPLAINT
            line = record.getMessage().partition("\n")[0]
            _LOG.warning("tracing, which scoring does not wait for: %s", line, extra=event("tracing"))
