"""Traces: a caller's context is read strictly, and spans reach a real OTLP collector or disturb nobody."""

import contextlib
import importlib.util
import json
import logging
import os
import socket
import subprocess
import sys
import time
from concurrent import futures

import grpc
import pytest

from anomaly_vae.errors import ConfigError
from anomaly_vae.service.config import ServeConfig
from anomaly_vae.service.pb import scoring_pb2 as pb
from anomaly_vae.service.pb.scoring_pb2_grpc import ScoringServiceStub
from anomaly_vae.service.tracing import NoTracer, TraceContext, make_tracer, request_id_of, trace_context_of
from tests.conftest import make_rows
from tests.service.running import fault_of, running, score, tensor

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
CALLER = "00f067aa0ba902b7"
SAMPLED = f"00-{TRACE}-{CALLER}-01"
METHOD = "anomaly_vae.v1.ScoringService/Score"


def parsed(*values, state=()):
    return trace_context_of([("traceparent", value) for value in values] + [("tracestate", value) for value in state])


@pytest.mark.parametrize(
    ("value", "sampled"),
    [
        (SAMPLED, True),
        (f"00-{TRACE}-{CALLER}-00", False),
        (f"00-{TRACE}-{CALLER}-03", True),  # a flag that version 00 does not know
        (f"00-{TRACE}-{CALLER}-02", False),
        (f"cc-{TRACE}-{CALLER}-01", True),  # a later version
        (f"cc-{TRACE}-{CALLER}-01-what-comes-then", True),
        (f"cc-{TRACE}-{CALLER}-01-", True),
        (f"00-{'0' * 31}1-{'0' * 15}1-ff", True),
    ],
)
def test_a_traceparent_of_this_or_a_later_version_is_read(value, sampled):
    _, trace_id, span_id, *_ = value.split("-")
    assert parsed(value) == TraceContext(trace_id, span_id, sampled)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "00",
        TRACE,
        f"ff-{TRACE}-{CALLER}-01",
        f"00-{TRACE}-{CALLER}-01-more",  # version 00 ends there
        f"00-{TRACE}-{CALLER}-01-",
        f"cc-{TRACE}-{CALLER}-01more",
        f"cc-{TRACE}-{CALLER}-01.more",
        f"00-{'0' * 32}-{CALLER}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        SAMPLED.upper(),
        f"00-{TRACE.replace('b', 'B')}-{CALLER}-01",
        f"00-{TRACE[:-1]}-{CALLER}-01",
        f"00-{TRACE}a-{CALLER}-01",
        f"00-{TRACE}-{CALLER}a-01",
        f"00-{TRACE}-{CALLER}-1",
        f"00-{TRACE}-{CALLER}-0g",
        f"0-{TRACE}-{CALLER}-01",
        f"00_{TRACE}_{CALLER}_01",
        f" {SAMPLED}",
        f"{SAMPLED}\n",
        f"00-{TRACE.replace('4', '٤')}-{CALLER}-01",  # a digit, though not of these ten
        f"cc-{TRACE}-{CALLER}-01-\x1b[31m",
        SAMPLED.encode(),
    ],
)
def test_a_malformed_traceparent_is_none_at_all(value):
    assert parsed(value) is None


def test_two_traceparents_leave_open_which_is_meant():
    assert parsed(SAMPLED, SAMPLED) is None
    assert parsed() is None


@pytest.mark.parametrize(
    ("values", "state"),
    [
        (["rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"], "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"),
        (["rojo=1", "congo=2"], "rojo=1,congo=2"),
        (["rojo=1 ,\t congo=2, ,"], "rojo=1,congo=2"),
        (["0tenant@system=a b"], "0tenant@system=a b"),
        ([",".join(f"k{i}=v" for i in range(32))], ",".join(f"k{i}=v" for i in range(32))),
        ([",".join(f"k{i}=v" for i in range(33))], ""),
        (["rojo=1,rojo=2"], ""),
        (["Rojo=1"], ""),
        (["rojo"], ""),
        (["rojo=1=2"], ""),
        (["rojo=\x1b"], ""),
        ([f"{'k' * 257}=v"], ""),
        ([f"k={'v' * 257}"], ""),
        ([b"rojo=1"], ""),
        ([], ""),
    ],
)
def test_a_tracestate_is_kept_whole_or_not_at_all(values, state):
    assert parsed(SAMPLED, state=values) == TraceContext(TRACE, CALLER, True, state)
    assert parsed("nonsense", state=values) is None


def test_a_child_is_a_new_span_of_the_same_trace():
    parent = parsed(SAMPLED, state=["rojo=1"])
    one, other = parent.child(), parent.child()
    assert (one.trace_id, one.parent_id, one.sampled, one.state) == (TRACE, CALLER, True, "rojo=1")
    assert len({one.span_id, other.span_id, CALLER}) == 3
    assert parsed(f"00-{TRACE}-{one.span_id}-01") is not None


@pytest.mark.parametrize(
    ("value", "found"),
    [("r-17", "r-17"), ("x" * 128, "x" * 128), ("x" * 129, ""), ("two\nlines", ""), ("\x1b[31m", ""), (b"r-17", "")],
)
def test_a_request_id_in_the_metadata_is_taken_only_if_it_can_be_shown(value, found):
    assert request_id_of([("other", "y"), ("x-request-id", value)]) == found


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": ""},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_SDK_DISABLED": "true"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_TRACES_EXPORTER": "none"},
    ],
)
def test_unless_asked_for_nothing_is_traced(environ):
    assert isinstance(make_tracer(None, environ), NoTracer)


def test_another_protocol_is_refused():
    environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}
    with pytest.raises(ConfigError, match="OTEL_EXPORTER_OTLP_PROTOCOL is 'http/protobuf', spans are sent by grpc"):
        make_tracer(None, environ)


@pytest.mark.parametrize(
    "url",
    ["collector:4317", "127.0.0.1", "ftp://x:1", "http://:4317", "http://x:0", "http://x:y", "http://x/v1/traces"],
)
def test_an_endpoint_that_is_none_is_refused(tmp_path, url):
    with pytest.raises(ConfigError, match="otlp_endpoint must be the URL of a collector"):
        ServeConfig(model=tmp_path, name="m", otlp_endpoint=url)


def test_without_the_extra_asking_for_it_says_what_to_install(model_path, tmp_path):
    """The packages are kept from being found, as if they were not installed."""
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['opentelemetry'] = None\n")
    paths = [str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])]
    command = [sys.executable, "-m", "anomaly_vae", "serve", str(model_path), "--port=0", "--metrics-port=0"]
    for option, environ in (
        (["--otlp-endpoint", "http://127.0.0.1:1"], {}),
        ([], {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}),
    ):
        done = subprocess.run(
            [*command, *option],
            env=os.environ | environ | {"PYTHONPATH": os.pathsep.join(paths)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 2, done.stderr
        (line,) = done.stderr.splitlines()
        assert "pip install 'anomaly_vae[otel]'" in line


def test_the_service_does_not_import_opentelemetry_unless_asked(tmp_path):
    code = "import sys, anomaly_vae.service.server; sys.exit(any(name.startswith('opentele') for name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0


class Collector:
    """A collector of spans, on loopback, that decodes what it is sent."""

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


def test_every_call_is_a_server_span_below_the_callers_sent_before_the_service_ends(model_path, collector):
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
    assert alone.status.code == below.status.code == 0  # a caller's mistake is no error of the server
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
        slow = {"tensor": tensor(make_rows(16_000)), "timeout": 0.2}
        assert fault_of(score, channel, **slow)[0] is grpc.StatusCode.DEADLINE_EXCEEDED
        assert service.stop() == 0
    (span,) = collector.servers()
    assert span.status.code == 2
    assert attributes(span)["error.type"] == attributes(span)["rpc.response.status_code"] == "DEADLINE_EXCEEDED"


def test_the_standard_variables_say_where_who_and_which(model_path, collector):
    """With a ratio of 0, only those calls are traced whose caller traces them."""
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
def test_a_collector_that_is_away_or_silent_disturbs_nobody(model_path, collector, silent):
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


def test_complaints_of_opentelemetry_are_one_line_a_minute(collector, caplog):
    from anomaly_vae.service.otel import _Complaints

    now = 0.0
    complaints = _Complaints(lambda: now)
    for second in range(150):
        now = float(second)
        complaints.emit(logging.makeLogRecord({"msg": "no collector\nat all", "levelno": logging.ERROR}))
    assert len(caplog.records) == 3
    assert caplog.records[0].getMessage() == "tracing, which scoring does not wait for: no collector"
