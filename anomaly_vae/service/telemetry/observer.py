"""Records every call from its start to its end, for the log and the tracer."""

from __future__ import annotations

import grpc

from anomaly_vae.service.telemetry.call_log import CallLog
from anomaly_vae.service.telemetry.records import CallRecord, begin_record, caller_of
from anomaly_vae.service.telemetry.trace_context import request_id_of, trace_context_of
from anomaly_vae.service.telemetry.tracer import Tracer

__all__ = ["Observer"]


class Observer:
    """Keeps a record of each call while it runs, then passes it to the log and the tracer."""

    def __init__(self, log: CallLog, tracer: Tracer) -> None:
        """Take the log and the tracer. No call is recorded yet."""
        self._log = log
        self._tracer = tracer

    def begin(self, kind: str, service: str, method: str, context: grpc.aio.ServicerContext) -> CallRecord:
        """Start a record, which ``current_call()`` returns from now on."""
        record = begin_record(kind, service, method, caller_of(context))
        if self._tracer.enabled:
            parent = trace_context_of(context.invocation_metadata() or ())
            record.span = span = self._tracer.start(record, parent)
            record.trace = span.trace
            record.stages = [] if span.recording else None
        return record

    def end(self, record: CallRecord, code: grpc.StatusCode, seconds: float, context: grpc.aio.ServicerContext) -> None:
        """Log the call if its kind is logged, and end its span."""
        record.code, record.seconds = code, seconds
        logged = self._log.wants(record)
        if not logged and record.stages is None:
            return
        # Read only now: converting the metadata to Python objects costs more than the rest of this method.
        metadata = context.invocation_metadata() or ()
        record.request_id = record.request_id or request_id_of(metadata)
        if record.trace is None and (parent := trace_context_of(metadata)):
            record.trace = parent.child()
        if record.span is not None:
            record.span.end(record)
        if logged:
            self._log.log(record)
