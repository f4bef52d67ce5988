"""Traces that calls belong to: W3C Trace Context as callers send it, and what a tracer is to the service."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias
from urllib.parse import urlsplit

from anomaly_vae.errors import ConfigError

if TYPE_CHECKING:
    from anomaly_vae.service.records import CallRecord

__all__ = [
    "NoTracer",
    "Span",
    "TraceContext",
    "Tracer",
    "check_endpoint",
    "make_tracer",
    "request_id_of",
    "trace_context_of",
]

Metadata: TypeAlias = Iterable[tuple[str, str | bytes]]

_LONGEST_REQUEST_ID = 128

# version, trace id, parent id, flags; a later version may go on after another hyphen.
_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-[ -~]*)?")
_NO_VERSION = "ff"
_SAMPLED = 1

_MOST_MEMBERS = 32
_MEMBER = re.compile(
    r"([a-z][a-z0-9_*/-]{0,255}|[a-z0-9][a-z0-9_*/-]{0,240}@[a-z][a-z0-9_*/-]{0,13})"
    r"=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]"
)


@dataclass(frozen=True, slots=True)
class TraceContext:
    """One span's place in a trace.

    Attributes:
        trace_id: 32 lower-case hexadecimal digits.
        span_id: 16 of them.
        sampled: Whether the trace is recorded by who began it.
        state: What tracing systems add, the checked ``tracestate``.
        parent_id: The span above, or empty.
    """

    trace_id: str
    span_id: str
    sampled: bool
    state: str = ""
    parent_id: str = ""

    def child(self) -> TraceContext:
        """A new span below this one."""
        return TraceContext(self.trace_id, os.urandom(8).hex(), self.sampled, self.state, self.span_id)


class Span(Protocol):
    """A call as its trace shows it."""

    trace: TraceContext
    recording: bool

    def end(self, record: CallRecord) -> None:
        """Take what came of the call; must neither wait nor fail."""


class Tracer(Protocol):
    """Makes spans and sends them away."""

    enabled: bool

    def start(self, method: str, parent: TraceContext | None) -> Span:
        """A span for a call of ``package.Service/Method``, below the caller's; must neither wait nor fail."""

    def close(self, seconds: float) -> None:
        """Send what is left, within so many seconds."""


class NoTracer:
    """Traces nothing: calls are not even asked for their metadata."""

    enabled = False

    def start(self, method: str, parent: TraceContext | None) -> Span:
        """Never called, since not enabled."""
        raise NotImplementedError(f"{method}: no tracer")

    def close(self, seconds: float) -> None:
        """Nothing to send."""


def make_tracer(endpoint: str | None, environ: Mapping[str, str] = os.environ) -> Tracer:
    """The tracer that an option or the standard ``OTEL_*`` variables ask for.

    Args:
        endpoint: URL of an OTLP collector that speaks gRPC; None leaves it to the variables.
        environ: The variables.

    Raises:
        ConfigError: The [otel] extra is not installed, or the variables ask for what cannot be.
    """
    endpoints = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
    wanted = endpoint or next((environ[name] for name in endpoints if environ.get(name)), None)
    disabled = environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    if not wanted or disabled or environ.get("OTEL_TRACES_EXPORTER", "").strip() == "none":
        return NoTracer()
    for name in ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"):
        if environ.get(name, "grpc") not in ("", "grpc"):
            raise ConfigError(
                f"{name} is {environ[name]!r}, spans are sent by grpc only; set it to grpc and the endpoint to the "
                "collector's port for gRPC, usually 4317"
            )
    try:
        from anomaly_vae.service.otel import OtelTracer
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith("opentelemetry"):
            raise
        raise ConfigError(
            f"sending spans to {wanted} needs OpenTelemetry, which is not installed; pip install 'anomaly_vae[otel]', "
            "or leave --otlp-endpoint and OTEL_EXPORTER_OTLP_ENDPOINT unset"
        ) from error
    return OtelTracer(endpoint)


def check_endpoint(url: str) -> None:
    """Raise ConfigError unless spans can be sent there by gRPC."""
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0 and parts.path in ("", "/")
    except ValueError:  # a port that is no number
        good = False
    if not good:
        raise ConfigError(
            f"otlp_endpoint must be the URL of a collector that speaks gRPC, such as http://127.0.0.1:4317, got {url!r}"
        )


def trace_context_of(metadata: Metadata) -> TraceContext | None:
    """The caller's span, by ``traceparent`` and ``tracestate``; None where they are missing or malformed.

    References:
        https://www.w3.org/TR/trace-context/
    """
    parents, states = [], []
    for key, value in metadata:
        if key == "traceparent":
            parents.append(value)
        elif key == "tracestate":
            states.append(value)
    # Two of them leave open which one is meant.
    if len(parents) != 1 or not isinstance(parents[0], str):
        return None
    found = _TRACEPARENT.fullmatch(parents[0])
    if found is None:
        return None
    version, trace_id, span_id, flags, rest = found.groups()
    if version == _NO_VERSION or (version == "00" and rest) or not int(trace_id, 16) or not int(span_id, 16):
        return None
    return TraceContext(trace_id, span_id, bool(int(flags, 16) & _SAMPLED), _checked_state(states))


def request_id_of(metadata: Metadata) -> str:
    """The caller's name for a call, by ``x-request-id``; empty where there is none that can be shown."""
    for key, value in metadata:
        if key == "x-request-id" and isinstance(value, str):
            return value if len(value) <= _LONGEST_REQUEST_ID and value.isprintable() else ""
    return ""


def _checked_state(values: list[str | bytes]) -> str:
    """All members in their order; empty, as the standard asks, where one of them is malformed or stands twice."""
    members, keys = [], set()
    for value in values:
        if not isinstance(value, str):
            return ""
        for member in filter(None, (part.strip(" \t") for part in value.split(","))):
            if not _MEMBER.fullmatch(member):
                return ""
            members.append(member)
            keys.add(member.partition("=")[0])
    return ",".join(members) if len(keys) == len(members) <= _MOST_MEMBERS else ""
