"""The log line of a call in a running service has its ids and no values of its rows."""

import json
from collections import Counter

import grpc

from anomaly_vae.service.pb import scoring_pb2 as pb
from anomaly_vae.service.pb.scoring_pb2_grpc import ScoringServiceStub
from tests.support.callers import CALLER, TRACE
from tests.support.data import make_rows
from tests.support.log_lines import calls_in, lines_of
from tests.support.running import fault_of, running, score, send_bytes, tensor


def test_a_running_service_logs_json_lines_with_ids_and_nothing_of_the_rows(model_path):
    rows = make_rows(3, seed=5)
    rows[1, 1] = 31337.0625
    bad = rows.copy()
    bad[2, 3] = float("inf")
    metadata = [("traceparent", f"00-{TRACE}-{CALLER}-01"), ("x-request-id", "by-metadata")]
    with running(model_path, "--log-format", "json", "--name", "evil\u2019s") as service, service.channel() as channel:
        stub = ScoringServiceStub(channel)
        score(channel, tensor=tensor(rows))
        request = pb.ScoreRequest(tensor=tensor(bad), request_id="r-17")
        assert fault_of(stub.Score, request, metadata=metadata)[0] is grpc.StatusCode.INVALID_ARGUMENT
        assert fault_of(send_bytes, channel, b"\xff\xff")[0] is grpc.StatusCode.INVALID_ARGUMENT
        fault_of(stub.GetModel, pb.GetModelRequest(model_name="another\n31337.0625"), metadata=metadata)
        assert service.stop() == 0
        lines = lines_of(service)
    text = json.dumps(lines)
    for cell in rows[:, :4].ravel():
        assert str(cell) not in text
    assert "31337" not in text
    assert '"inf"' not in text
    assert Counter(line["event"] for line in lines) == {
        "audit": 1,
        "serving": 1,
        "call": 3,
        "draining": 1,
        "stopped": 1,
    }
    assert lines[0]["model_name"] == "evil\u2019s"
    failed, unread, lost = calls_in(lines)
    assert failed["grpc_service"] == "anomaly_vae.v1.ScoringService"
    assert (failed["grpc_method"], failed["grpc_code"], failed["rows"]) == ("Score", "INVALID_ARGUMENT", 3)
    assert (failed["level"], failed["request_id"], failed["model_version"]) == ("info", "r-17", "1")
    assert (failed["trace_id"], failed["parent_span_id"]) == (TRACE, CALLER)
    assert len(failed["span_id"]) == 16
    assert failed["span_id"] not in (CALLER, lost["span_id"])
    assert 0 < failed["seconds"] < 10
    assert "trace_id" not in unread
    assert (lost["grpc_code"], lost["request_id"]) == ("NOT_FOUND", "by-metadata")
