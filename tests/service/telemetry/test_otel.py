"""Spans reach a real OTLP collector. A collector that fails does not disturb the service."""

import contextlib
import importlib.util
import json
import logging
import os
import socket
import time
from concurrent import futures

import grpc
import pytest

from anomaly_vae.service.pb import scoring_pb2 as pb
from anomaly_vae.service.pb.scoring_pb2_grpc import ScoringServiceStub
from tests.support.callers import CALLER, SAMPLED, TRACE
from tests.support.data import make_rows
from tests.support.rest import infer, tensor_json
from tests.support.running import fault_of, running, score, tensor

METHOD = "anomaly_vae.v1.ScoringService/Score"


class Collector:
    """A collector on loopback that decodes the spans it receives."""

    def __init__(self):
        from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

        collector, self.requests = self, []

        class Service(trace_service_pb2_grpc.TraceServiceServicer):
            def Export(self, request, _context):  # noqa: N802 (the method's name on the wire)
                collector.requests.append(request)
                return trace_service_pb2.ExportTraceServiceResponse()

        self._server = grpc.server(futures.ThreadPoolExecutor(2))
        trace_service_pb2_grpc.add_TraceServiceServicer_to_server(Service(), self._server)
        self.url = f"http://127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()

    def stop(self):
        self._server.stop(None).wait()

    @property
    def spans(self):
        return [
            span
            for request in self.requests
            for of in request.resource_spans
            for s in of.scope_spans
            for span in s.spans
        ]

    def servers(self):
        """The spans of calls, in the order of their starts."""
        return sorted((span for span in self.spans if span.kind == 2), key=lambda span: span.start_time_unix_nano)

    def resource(self):
        return attributes(self.requests[0].resource_spans[0].resource)


def attributes(owner):
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in owner.attributes}


@pytest.fixture
def collector():
    if importlib.util.find_spec("opentelemetry") is None:
        message = "OpenTelemetry is not installed (the [otel] extra)"
        pytest.fail(message) if os.environ.get("CI") == "true" else pytest.skip(message)
    collector = Collector()
    yield collector
    collector.stop()


def test_every_call_is_a_child_span_of_its_caller_and_exported_before_the_service_stops(model_path, collector):
    rows = make_rows(5, seed=5)
    rows[1, 1] = 31337.0625
    bad = rows.copy()
    bad[2, 3] = float("inf")
    metadata = [("traceparent", SAMPLED), ("tracestate", "rojo=1")]
    options = ["--otlp-endpoint", collector.url, "--log-calls", "all", "--log-format", "json"]
    with running(model_path, *options) as service, service.channel() as channel:
        stub = ScoringServiceStub(channel)
        before = time.time_ns()
        stub.Score(pb.ScoreRequest(tensor=tensor(rows), request_id="r-17"), metadata=metadata, timeout=60)
        after = time.time_ns()
        fault_of(stub.Score, pb.ScoreRequest(tensor=tensor(bad)), timeout=60)
        assert service.stop() == 0
        lines = [json.loads(line) for line in service.log().splitlines()]
    assert collector.resource()["service.name"] == "anomaly_vae"
    below, alone = collector.servers()
    assert (below.name, below.trace_id.hex(), below.parent_span_id.hex()) == (METHOD, TRACE, CALLER)
    assert below.trace_state == "rojo=1"
    assert before <= below.start_time_unix_nano < below.end_time_unix_nano <= after
    assert attributes(below) == {
        "rpc.system.name": "grpc",
        "rpc.method": METHOD,
        "rpc.response.status_code": "OK",
        "anomaly_vae.rows": 5,
        "anomaly_vae.model_version": "1",
        "anomaly_vae.request_id": "r-17",
    }
    assert (alone.parent_span_id, alone.trace_id.hex() != TRACE) == (b"", True)
    assert attributes(alone)["rpc.response.status_code"] == "INVALID_ARGUMENT"
    assert alone.status.code == below.status.code == 0  # a mistake of the caller is not an error of the server
    stages = sorted(
        (s for s in collector.spans if s.parent_span_id == below.span_id), key=lambda s: s.start_time_unix_nano
    )
    assert [stage.name for stage in stages] == ["decode", "queue", "infer", "encode"]
    for stage in stages:
        assert below.start_time_unix_nano <= stage.start_time_unix_nano <= stage.end_time_unix_nano
        assert stage.end_time_unix_nano <= below.end_time_unix_nano
        assert stage.trace_id == below.trace_id
    assert b"31337" not in b"".join(request.SerializeToString() for request in collector.requests)
    assert rows[1, :1].tobytes() not in b"".join(request.SerializeToString() for request in collector.requests)
    first, second = (line for line in lines if line["event"] == "call")
    assert (first["trace_id"], first["span_id"], first["parent_span_id"]) == (TRACE, below.span_id.hex(), CALLER)
    assert (second["trace_id"], second["span_id"]) == (alone.trace_id.hex(), alone.span_id.hex())


def test_a_fault_that_is_not_the_callers_marks_its_span(model_path, collector):
    with (
        running(model_path, "--otlp-endpoint", collector.url, "--threads", "1") as service,
        service.channel() as channel,
    ):
        slow = {"tensor": tensor(make_rows(16_000)), "num_samples": 2048, "timeout": 0.2}
        assert fault_of(score, channel, **slow)[0] is grpc.StatusCode.DEADLINE_EXCEEDED
        assert service.stop() == 0
    (span,) = collector.servers()
    assert span.status.code == 2
    assert attributes(span)["error.type"] == attributes(span)["rpc.response.status_code"] == "DEADLINE_EXCEEDED"


def test_a_request_over_http_is_a_span_named_by_its_route(model_path, collector):
    rows = make_rows(2, seed=5)
    with running(model_path, "--http-port", 0, "--otlp-endpoint", collector.url) as service:
        infer(service.http_port, tensor_json(rows), headers={"traceparent": SAMPLED})
        infer(service.http_port, tensor_json(rows), model="other")
        assert service.stop() == 0
    good, lost = collector.servers()
    assert (good.name, good.trace_id.hex()) == ("POST /v2/models/{model}/infer", TRACE)
    assert attributes(good) == {
        "http.request.method": "POST",
        "http.route": "/v2/models/{model}/infer",
        "http.response.status_code": 200,
        "anomaly_vae.rows": 2,
        "anomaly_vae.model_version": "1",
    }
    assert attributes(lost)["http.response.status_code"] == 404
    assert "error.type" not in attributes(lost)
    assert {span.name for span in collector.spans if span.parent_span_id == good.span_id} >= {"decode", "infer"}


def test_the_standard_variables_set_endpoint_service_name_and_sampling(model_path, collector):
    """With a sampling ratio of 0, only calls whose caller samples them are traced."""
    env = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
        "OTEL_SERVICE_NAME": "fraud",
        "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
        "OTEL_TRACES_SAMPLER_ARG": "0",
    }
    with running(model_path, env=env) as service, service.channel() as channel:
        stub = ScoringServiceStub(channel)
        request = pb.ScoreRequest(tensor=tensor(make_rows(1)))
        for metadata in ((), [("traceparent", f"{SAMPLED[:-1]}0")], [("traceparent", SAMPLED)]):
            stub.Score(request, metadata=metadata, timeout=60)
        assert service.stop() == 0
    (span,) = collector.servers()
    assert span.parent_span_id.hex() == CALLER
    assert collector.resource()["service.name"] == "fraud"


def test_a_bad_variable_is_refused_in_one_line(model_path, collector, run_cli, monkeypatch):
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "-1")
    done = run_cli("serve", model_path, "--port=0", "--metrics-port=0", "--otlp-endpoint", collector.url, code=2)
    (line,) = done.stderr.decode().splitlines()
    assert "OpenTelemetry refuses its settings, see the OTEL_* variables" in line


@contextlib.contextmanager
def silent_port():
    """A port that accepts and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


def free_port():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return unused.getsockname()[1]


@pytest.mark.parametrize("silent", [True, False])
def test_a_missing_or_silent_collector_does_not_disturb_calls(model_path, collector, silent):
    with contextlib.ExitStack() as stack:
        port = stack.enter_context(silent_port()) if silent else free_port()
        env = {"OTEL_BSP_SCHEDULE_DELAY": "50", "OTEL_BSP_MAX_QUEUE_SIZE": "64", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "8"}
        options = ["--otlp-endpoint", f"http://127.0.0.1:{port}", "--log-format", "json", "--grace", "1"]
        service = stack.enter_context(running(model_path, *options, env=env))
        channel = stack.enter_context(service.channel())
        request = pb.ScoreRequest(tensor=tensor(make_rows(1)))
        for _ in range(100):
            start = time.monotonic()
            score(channel, request)
            assert time.monotonic() - start < 1
        start = time.monotonic()
        assert service.stop() == 0
        assert time.monotonic() - start < 4
        lines = [json.loads(line) for line in service.log().splitlines()]
    complaints = [line for line in lines if line["event"] == "tracing"]
    assert 1 <= len(complaints) <= 2
    assert all(line["level"] == "warning" for line in complaints)
    assert lines[-1]["event"] == "stopped"


def test_warnings_of_opentelemetry_are_one_line_a_minute(collector, caplog):
    from anomaly_vae.service.telemetry.otel import _SdkWarnings

    now = 0.0
    complaints = _SdkWarnings(lambda: now)
    for second in range(150):
        now = float(second)
        complaints.emit(logging.makeLogRecord({"msg": "no collector\nat all", "levelno": logging.ERROR}))
    assert len(caplog.records) == 3
    assert caplog.records[0].getMessage() == "tracing failed, scoring goes on: no collector"
