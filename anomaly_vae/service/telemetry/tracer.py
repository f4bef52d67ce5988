"""The interface of tracers, and the choice of the tracer from the settings."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Protocol

from anomaly_vae.errors import ConfigError
from anomaly_vae.service.telemetry.records import CallRecord, Span
from anomaly_vae.service.telemetry.trace_context import TraceContext

__all__ = ["NoTracer", "Tracer", "make_tracer"]


class Tracer(Protocol):
    """Makes spans and exports them."""

    enabled: bool

    def start(self, record: CallRecord, parent: TraceContext | None) -> Span:
        """Start the span of a call, a child of the caller's. Must not block or raise."""

    def close(self, seconds: float) -> None:
        """Export the last spans, at most for some seconds."""


class NoTracer:
    """Traces nothing. It is not enabled, so the metadata of calls is not read."""

    enabled = False

    def start(self, record: CallRecord, parent: TraceContext | None) -> Span:
        """Raise NotImplementedError: it is not enabled."""
        raise NotImplementedError(f"{record.name}: no tracer")

    def close(self, seconds: float) -> None:
        """Do nothing."""


def make_tracer(endpoint: str | None, environ: Mapping[str, str] = os.environ) -> Tracer:
    """Return the tracer for the option or the standard ``OTEL_*`` variables.

    Args:
        endpoint: URL of an OTLP collector that speaks gRPC; None uses the variables.
        environ: The environment variables.

    Raises:
        ConfigError: The [otel] extra is not installed, or the variables are not supported.
    """
    endpoints = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
    url = endpoint or next((environ[name] for name in endpoints if environ.get(name)), None)
    disabled = environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    if not url or disabled or environ.get("OTEL_TRACES_EXPORTER", "").strip() == "none":
        return NoTracer()
    for name in ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"):
        if environ.get(name, "grpc") not in ("", "grpc"):
            raise ConfigError(
                f"{name} is {environ[name]!r}, but spans are sent by grpc only; set it to grpc, and the endpoint to "
                "the collector's port for gRPC, usually 4317"
            )
    try:
        from anomaly_vae.service.telemetry.otel import OtelTracer
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith("opentelemetry"):
            raise
        raise ConfigError(
            f"sending spans to {url} needs OpenTelemetry, which is not installed; pip install 'anomaly_vae[otel]', "
            "or leave --otlp-endpoint and OTEL_EXPORTER_OTLP_ENDPOINT unset"
        ) from error
    return OtelTracer(endpoint)
