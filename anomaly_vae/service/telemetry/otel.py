"""Spans with OpenTelemetry, exported in batches by a thread of the SDK. Imported only if tracing is configured."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
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
from anomaly_vae.service.telemetry.logs import event
from anomaly_vae.service.telemetry.records import HTTP, CallRecord, Span
from anomaly_vae.service.telemetry.trace_context import TraceContext
from anomaly_vae.version import __version__

__all__ = ["OtelTracer"]

_LOG = logging.getLogger("anomaly_vae.service")

_SECONDS_PER_WARNING = 60.0  # chosen, not measured
_SHUTDOWN_S = 0.5  # for the exporter to close its connection; chosen, not measured
_NANOSECONDS = 1e9  # per second

# Status codes that count as errors of a server, https://opentelemetry.io/docs/specs/semconv/rpc/grpc. The others are
# errors of the caller.
_ERRORS = frozenset({"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"})

_HTTP_ERROR = 500  # the lowest status of an error of the server


class OtelTracer:
    """Makes a server span for each call and sends it to an OTLP collector over gRPC.

    The standard ``OTEL_*`` variables set everything else: sampling, batching, headers, certificates, resource. If the
    collector fails, only spans are lost: the queue of the SDK is bounded, and scoring does not wait for it.
    """

    enabled = True

    def __init__(self, endpoint: str | None) -> None:
        """Start the exporting thread. Nothing is connected yet.

        Args:
            endpoint: The collector's URL; None uses the environment variables.

        Raises:
            ConfigError: The SDK refuses the value of a variable.
        """
        try:
            self._exporter = OTLPSpanExporter(endpoint=endpoint)
            self._provider = TracerProvider(resource=_resource(), shutdown_on_exit=False)
            self._provider.add_span_processor(BatchSpanProcessor(self._exporter))
        except Exception as error:  # the SDK raises different types for bad variables
            raise ConfigError(f"OpenTelemetry refuses its settings, see the OTEL_* variables: {error}") from error
        self._tracer = self._provider.get_tracer("anomaly_vae", __version__)
        libraries = logging.getLogger("opentelemetry")
        libraries.handlers[:] = [_SdkWarnings()]
        libraries.propagate = False

    def start(self, record: CallRecord, parent: TraceContext | None) -> Span:
        """Start the span of a call, a child of the caller's."""
        context = Context() if parent is None else trace.set_span_in_context(_remote(parent), Context())
        started = time.time_ns()
        attributes = _attributes_at_start(record)
        span = self._tracer.start_span(record.name, context, SpanKind.SERVER, attributes, start_time=started)
        return _OtelSpan(self._tracer, span, started, parent)

    def close(self, seconds: float) -> None:
        """Export the last spans, at most for some seconds. Then close the connection."""
        sending = threading.Thread(target=self._provider.shutdown, name="last-spans", daemon=True)
        sending.start()
        sending.join(seconds)
        if sending.is_alive():
            _LOG.warning("the last spans were not sent within %.1f s", seconds, extra=event("tracing"))
            self._exporter.shutdown()
            sending.join(_SHUTDOWN_S)


class _OtelSpan:
    def __init__(self, tracer: Any, span: Any, started: int, parent: TraceContext | None) -> None:
        context = span.get_span_context()
        self._tracer = tracer
        self._span = span
        # The offset from perf_counter, which times the stages, to the time of day, in nanoseconds.
        self._offset = started - round(_NANOSECONDS * time.perf_counter())
        self.recording = bool(span.is_recording())
        self.trace = TraceContext(
            f"{context.trace_id:032x}",
            f"{context.span_id:016x}",
            context.trace_flags.sampled,
            parent_id=parent.span_id if parent else "",
        )

    def end(self, record: CallRecord) -> None:
        """End the span and its child spans, one per stage."""
        if not self.recording:
            return
        parent = trace.set_span_in_context(self._span, Context())
        for name, start, end in record.stages or ():
            stage = self._tracer.start_span(name, parent, start_time=self._time(start))
            stage.end(self._time(end))
        self._span.set_attributes(_attributes(record))
        if _is_error(record):
            self._span.set_status(Status(StatusCode.ERROR))
        self._span.end()

    def _time(self, seconds: float) -> int:
        return self._offset + round(_NANOSECONDS * seconds)


def _attributes_at_start(record: CallRecord) -> dict[str, str]:
    """Return what samplers may look at, https://opentelemetry.io/docs/specs/semconv/."""
    if record.kind == HTTP:
        return {"http.request.method": record.service, "http.route": record.method}
    return {"rpc.system.name": "grpc", "rpc.method": record.name}


def _is_error(record: CallRecord) -> bool:
    """Return whether a call failed by a fault of the server. A client over HTTP that has gone gets 499."""
    return record.http_code >= _HTTP_ERROR if record.kind == HTTP else record.code.name in _ERRORS


def _attributes(record: CallRecord) -> dict[str, str | int]:
    status: str | int = record.http_code if record.kind == HTTP else record.code.name
    name = "http.response.status_code" if record.kind == HTTP else "rpc.response.status_code"
    attributes: dict[str, str | int] = {name: status}
    if _is_error(record):
        attributes["error.type"] = str(status)
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
    """Return the resource from the variables, with our name and version where they set none."""
    configured = Resource.create()
    ours = {SERVICE_VERSION: __version__, **configured.attributes}
    if str(configured.attributes.get(SERVICE_NAME, "")).startswith("unknown_service"):
        ours[SERVICE_NAME] = "anomaly_vae"
    return configured.merge(Resource(ours))


class _SdkWarnings(logging.Handler):
    """Logs warnings of OpenTelemetry, usually of a collector that does not answer: one line a minute at most."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(logging.WARNING)
        self._clock = clock
        self._quiet_until = clock()

    def emit(self, record: logging.LogRecord) -> None:
        """Log the record, unless another was logged less than a minute ago."""
        now = self._clock()
        if now >= self._quiet_until:
            self._quiet_until = now + _SECONDS_PER_WARNING
            line = record.getMessage().partition("\n")[0]
            _LOG.warning("tracing failed, scoring goes on: %s", line, extra=event("tracing"))
