"""The log of calls: which calls have a line, at which level, and how many lines at most."""

import logging
from collections import Counter

import grpc
import pytest

from anomaly_vae.service.callers import NO_TOKEN, Caller, Priority
from anomaly_vae.service.pb import scoring_pb2 as pb
from anomaly_vae.service.pb.scoring_pb2_grpc import ScoringServiceStub
from anomaly_vae.service.telemetry.call_log import CallLog
from anomaly_vae.service.telemetry.formatters import JsonFormatter
from anomaly_vae.service.telemetry.records import CallRecord
from tests.support.data import make_rows
from tests.support.log_lines import calls_in, lines_of, raised
from tests.support.running import running, score, tensor


@pytest.fixture
def calls(caplog):
    caplog.set_level(logging.INFO, "anomaly_vae.service.calls")
    return caplog


def ended(code="INVALID_ARGUMENT", kind="unary", **known):
    return CallRecord(kind, "some.Service", "Method", code=grpc.StatusCode[code], **known)


@pytest.mark.parametrize(
    ("which", "code", "kind", "logged"),
    [
        ("failed", "OK", "unary", False),
        ("failed", "INVALID_ARGUMENT", "unary", True),
        ("failed", "CANCELLED", "unary", True),
        ("failed", "CANCELLED", "server_stream", False),
        ("failed", "UNAVAILABLE", "bidi_stream", True),
        ("all", "OK", "unary", True),
        ("all", "CANCELLED", "server_stream", True),
        ("none", "INVALID_ARGUMENT", "unary", False),
    ],
)
def test_log_calls_decides_which_calls_have_a_line(calls, which, code, kind, logged):
    CallLog(which).log(ended(code, kind))
    assert len(calls.records) == logged


def test_a_fault_of_ours_is_always_logged(calls):
    record = ended("INTERNAL")
    record.set_error(raised(MemoryError("31337.5")))
    CallLog("none").log(record)
    (line,) = calls.records
    assert (line.levelname, line.fields["error_type"]) == ("ERROR", "MemoryError")
    assert "31337.5" not in JsonFormatter().format(line)


@pytest.mark.parametrize(
    ("caller", "name"),
    [(NO_TOKEN, None), (Caller("-", Priority.BATCH), None), (Caller("billing", rows_per_second=1), "billing")],
)
def test_the_name_of_the_token_is_in_the_line(calls, caller, name):
    CallLog("all").log(ended(identity=caller))
    assert calls.records[0].fields.get("caller") == name


def test_a_fault_within_a_stream_that_continued_is_logged_too(calls):
    record = ended("OK", "bidi_stream")
    record.set_error(raised(MemoryError("31337.5")))
    CallLog("none").log(record)
    (line,) = calls.records
    assert (line.levelname, line.fields["error_type"]) == ("ERROR", "MemoryError")


@pytest.mark.parametrize(
    ("code", "level"), [("NOT_FOUND", "INFO"), ("RESOURCE_EXHAUSTED", "WARNING"), ("INTERNAL", "ERROR"), ("OK", "INFO")]
)
def test_the_level_depends_on_whose_fault_it_is(calls, code, level):
    CallLog("all").log(ended(code))
    assert [line.levelname for line in calls.records] == [level]


def test_fifty_lines_a_second_are_logged_and_the_others_are_counted(calls):
    now = 1000.0
    log = CallLog("failed", lambda: now)
    for i in range(10_000):  # 1,000 calls a second for 10 seconds
        now = 1000.0 + i / 1000
        log.log(ended())
    log.close()
    left_out = [line.fields["calls"] for line in calls.records if line.fields["event"] == "calls_left_out"]
    lines = len(calls.records) - len(left_out)
    assert 540 <= lines <= 550  # one second's worth at once, then 50 a second
    assert 9 <= len(left_out) <= 11
    assert lines + sum(left_out) == 10_000
    calls.clear()
    now += 5
    log.log(ended())
    log.close()
    assert [line.fields["event"] for line in calls.records] == ["call"]


def test_a_flood_of_bad_requests_does_not_fill_the_disk(model_path):
    with running(model_path, "--log-format", "json") as service, service.channel() as channel:
        call = channel.unary_unary("/anomaly_vae.v1.ScoringService/Score")
        codes = Counter()
        for _ in range(5):  # gRPC itself refuses more calls at a time on one connection; the service does not see those
            waiting = [call.future(b"\xff", timeout=60) for _ in range(100)]
            codes.update(future.exception().code().name for future in waiting)
        assert service.stop() == 0
        lines = lines_of(service)
    left_out = sum(line["calls"] for line in lines if line["event"] == "calls_left_out")
    assert codes == {"INVALID_ARGUMENT": 500}
    assert len(calls_in(lines)) + left_out == 500
    assert left_out > 0


def test_log_calls_all_has_a_line_for_every_call_in_text_too(model_path):
    with running(model_path, "--log-calls", "all") as service, service.channel() as channel:
        score(channel, tensor=tensor(make_rows(3)), request_id="r-18")
        assert service.stop() == 0
        (line,) = (line for line in service.log().splitlines() if "/Score" in line)
    assert " INFO anomaly_vae.v1.ScoringService/Score OK after " in line
    assert line.endswith(" ms, 3 rows request_id=r-18")


def test_the_line_of_a_stream_counts_the_rows_of_all_its_requests(model_path):
    with running(model_path, "--log-calls", "all", "--log-format", "json") as service, service.channel() as channel:
        requests = [pb.ScoreRequest(tensor=tensor(make_rows(n)), request_id=f"r-{n}") for n in (1, 2, 3)]
        assert len(list(ScoringServiceStub(channel).ScoreStream(iter(requests), timeout=60))) == 3
        assert service.stop() == 0
        (line,) = calls_in(lines_of(service))
    assert (line["grpc_type"], line["grpc_method"], line["grpc_code"]) == ("bidi_stream", "ScoreStream", "OK")
    assert (line["rows"], line["request_id"]) == (6, "r-3")
