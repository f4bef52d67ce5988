"""A request over HTTP is a call like one of gRPC."""

from anomaly_vae.service.rest.call import HttpCall
from anomaly_vae.service.rpc.open_calls import OpenCalls
from anomaly_vae.service.telemetry.metrics import Metrics
from anomaly_vae.service.telemetry.trace_context import request_id_of


def test_it_counts_as_open_until_it_ends():
    calls, call = OpenCalls(4, Metrics(10, 10)), HttpCall("http:127.0.0.1:40000", [("x-request-id", "r-1")])
    assert calls.admit(call) is None
    assert calls.unfinished == 1
    call.end()
    call.end()
    assert calls.unfinished == 0
    assert request_id_of(call.invocation_metadata()) == "r-1"
