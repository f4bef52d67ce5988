"""ModelStreamInfer: the scorer's bits in order, errors in their places, back-pressure, and the end of a stream."""

import asyncio
import signal
import threading
import time

import grpc
import numpy as np
import pytest

from anomaly_vae.service.pb import inference_pb2 as pb
from anomaly_vae.service.rpc.inference_messages import OUTPUTS
from anomaly_vae.service.rpc.inference_servicer import INFERENCE, InferenceServicer
from anomaly_vae.service.scoring import Scoring
from anomaly_vae.service.served import Served
from anomaly_vae.service.settings import ServeConfig
from anomaly_vae.service.telemetry.metrics import Metrics
from anomaly_vae.service.telemetry.records import begin_record
from tests.support.data import make_rows
from tests.support.inference_requests import BAD_ROWS, number, request, stream
from tests.support.inference_requests import values_of as outputs_of
from tests.support.running import running
from tests.support.served import serve

METHOD = f"/{INFERENCE}/ModelStreamInfer"


def stream_bytes(channel, messages, timeout=60):
    """Messages as bytes, which no stub would build."""
    call = channel.stream_stream(METHOD, response_deserializer=pb.ModelStreamInferResponse.FromString)
    return call(iter(messages), timeout=timeout)


def parts(rows, sizes, **fields):
    """Requests with these numbers of rows, named by their index."""
    starts = np.cumsum([0, *sizes])[:-1]
    return [
        request(rows[start : start + size], id=str(i), **fields)
        for i, (start, size) in enumerate(zip(starts, sizes, strict=True))
    ]


def assert_scores(reply, scores):
    """The reply is the only one to its request, and has every bit of the scores."""
    assert reply.error_message == ""
    assert reply.infer_response.parameters["triton_final_response"].bool_param is True
    found = outputs_of(reply.infer_response)
    assert list(found) == list(OUTPUTS)
    for name, values in found.items():
        assert values.tobytes() == getattr(scores, name).tobytes(), name


def test_replies_come_in_order_with_the_bits_of_the_scorer(channel, scorer):
    """Large and small requests alternate: a small one is computed before the large one ahead of it."""
    rows, sizes = make_rows(500, seed=5), [200, 1, 150, 2, 100, 1, 1, 45]
    replies = list(stream(channel, parts(rows, sizes)))
    assert [reply.infer_response.id for reply in replies] == [str(i) for i in range(len(sizes))]
    start = 0
    for reply, size in zip(replies, sizes, strict=True):
        assert_scores(reply, scorer.score(rows[start : start + size]))
        start += size


def test_a_large_message_scores_as_a_small_one(channel, scorer):
    """Above a quarter of a megabyte it is read in a thread."""
    rows = make_rows(7_000, seed=3)
    (reply,) = stream(channel, [request(rows, parameters={"num_samples": number(16)})])
    assert (
        outputs_of(reply.infer_response)["log_px"].tobytes() == scorer.score_rows(rows, num_samples=16).log_px.tobytes()
    )


ERRORS = {
    "an infinity": (request(BAD_ROWS, id="bad"), "bad", "raw_input_contents[0]: row 1, column 'flow' is inf"),
    "no input": (pb.ModelInferRequest(model_name="model", id="bad"), "bad", "inputs: has none, expected one, 'x'"),
    "another model": (request(id="bad", model_name="other"), "bad", "model_name: 'other' is not served here"),
    "too many rows": (request(make_rows(16_385), "FP32", id="bad"), "bad", "inputs[0].shape: has 16385 rows"),
    "no time": (request(id="bad", parameters={"timeout": number(1)}), "bad", "passed before the rows were scored"),
    "no name": (request(model_version="2"), "", "model_version: '2' is not served here"),
    "a bad name": (request(id="a\nb"), "", "id: must have at most 128 printable characters"),
    "an endless name": (request(id="b" * 9000), "", "id: must have at most 128 printable characters"),
}


@pytest.mark.parametrize("name", ERRORS)
def test_an_error_comes_in_the_place_of_its_reply_and_the_stream_goes_on(channel, scorer, name):
    bad, name_of_it, text = ERRORS[name]
    rows = make_rows(3, seed=7)
    first, second, third = stream(channel, [request(rows, id="0"), bad, request(rows, id="2")])
    assert text in second.error_message
    assert second.infer_response.id == name_of_it
    assert second.infer_response.parameters["triton_final_response"].bool_param is True
    assert not second.infer_response.outputs
    for reply, number_of_it in ((first, "0"), (third, "2")):
        assert reply.infer_response.id == number_of_it
        assert_scores(reply, scorer.score(rows))


@pytest.mark.parametrize("data", [b"", b"\xff" * 40, b"\x0a\xff", b"\x1a\x02\xff\xfe", b"\x18\x07" * 200])
def test_bytes_that_are_no_request_are_an_error_and_the_stream_goes_on(channel, scorer, data):
    rows = make_rows(3, seed=7)
    bad, good = stream_bytes(channel, [data, request(rows).SerializeToString()])
    assert bad.error_message
    assert bad.infer_response.id == ""
    assert_scores(good, scorer.score(rows))


def test_a_flood_is_refused_before_it_is_parsed_and_the_stream_goes_on(channel, scorer):
    rows = make_rows(3, seed=7)
    bad, good = stream_bytes(channel, [b"\x22\x00" * 500_000, request(rows).SerializeToString()])
    assert bad.error_message.startswith("ModelInferRequest: has more entries")
    assert_scores(good, scorer.score(rows))


def test_errors_are_counted_by_code_and_the_call_is_ok(model_path):
    with running(model_path) as service, service.channel() as channel:
        names = ["anomaly_vae_stream_errors_total", "anomaly_vae_rejected_total"]
        assert [service.metric(name) for name in names] == [0, 0]
        bad = [request(BAD_ROWS), request(model_name="other"), request(parameters={"timeout": number(1)})]
        assert all(reply.error_message for reply in stream(channel, [*bad, request(BAD_ROWS)]))
        codes = {code: service.metric(names[0], grpc_code=code) for code in ("InvalidArgument", "NotFound", "Internal")}
        assert codes == {"InvalidArgument": 2, "NotFound": 1, "Internal": 0}
        assert service.metric(names[0], grpc_code="DeadlineExceeded") == 1
        assert service.metric(names[1], reason="deadline") == 1
        labels = {"grpc_method": "ModelStreamInfer", "grpc_type": "bidi_stream"}
        assert service.metric("grpc_server_handled_total", grpc_code="OK", **labels) == 1
        # Rows for a model that is not there are rows of no model.
        assert service.metric("anomaly_vae_rows_total", outcome="invalid") == 4


def test_a_full_queue_delays_a_stream_and_refuses_nothing(model_path, scorer):
    """Ten requests of 64 rows through a queue of 64 rows, which would refuse single calls."""
    rows = make_rows(640, seed=7)
    with running(model_path, "--max-queue-rows", 64, "--max-rows", 64) as service, service.channel() as channel:
        replies = list(stream(channel, parts(rows, [64] * 10), timeout=120))
        assert service.metric("anomaly_vae_rejected_total", reason="queue_full") == 0
    found = np.concatenate([outputs_of(reply.infer_response)["log_px"] for reply in replies])
    assert found.tobytes() == scorer.score(rows).log_px.tobytes()


def test_all_requests_read_before_the_service_drains_are_answered(model_path, scorer):
    rows = make_rows(2_000, seed=9)
    with running(model_path) as service, service.channel() as channel:
        stop = threading.Event()

        def endless():
            yield from parts(rows, [20] * 100)
            stop.wait(30)

        call = stream(channel, endless())
        replies = [next(call) for _ in range(3)]
        service.process.send_signal(signal.SIGTERM)
        with pytest.raises(grpc.RpcError) as error:
            replies += call
        stop.set()
        assert error.value.code() is grpc.StatusCode.UNAVAILABLE
        assert "shutting down" in error.value.details()
        assert service.process.wait(30) == 0
    assert [reply.infer_response.id for reply in replies] == [str(i) for i in range(len(replies))]
    found = np.concatenate([outputs_of(reply.infer_response)["log_px"] for reply in replies])
    assert found.tobytes() == scorer.score(rows[: len(found)]).log_px.tobytes()


def test_requests_read_before_the_service_drains_are_answered_even_if_it_takes_long(model_path, scorer):
    """Seconds of work: more than the time that endless streams get to end."""
    rows, stop = make_rows(3_000, seed=9), threading.Event()
    with running(model_path, "--grace", 300) as service, service.channel() as channel:

        def one_then_silence():
            yield request(rows, parameters={"num_samples": number(2048)})
            stop.wait(60)

        call = stream(channel, one_then_silence())
        give_up = time.monotonic() + 30
        while service.metric("anomaly_vae_queue_rows") == 0:
            assert time.monotonic() < give_up
        service.process.send_signal(signal.SIGTERM)
        reply = next(call)
        with pytest.raises(grpc.RpcError) as error:
            next(call)
        stop.set()
        assert error.value.code() is grpc.StatusCode.UNAVAILABLE
        assert service.process.wait(30) == 0
    assert (
        outputs_of(reply.infer_response)["log_px"].tobytes()
        == scorer.score_rows(rows, num_samples=2048).log_px.tobytes()
    )


def test_an_internal_error_is_sent_without_its_text_and_recorded_for_the_log(model_path, scorer):
    """One request fails in the scorer; the stream must go on for the others."""

    class Context:
        def time_remaining(self):
            return None

    async def requests():
        for message in parts(make_rows(3), [1, 1, 1]):
            yield message.SerializeToString()

    async def ask():
        metrics = Metrics(1000, 10**6)
        scoring = Scoring(ServeConfig(model=model_path), metrics, threads=1)
        serve(scoring, Served("model", "1", scorer, scorer.budgets))
        score, calls = scoring.score, []

        async def score_but_one(*arguments, **options):
            calls.append(arguments)
            if len(calls) == 2:
                raise ValueError("the row is 1.5, 2.5")
            return await score(*arguments, **options)

        scoring.score = score_but_one
        record = begin_record("bidi_stream", INFERENCE, "ModelStreamInfer")
        try:
            servicer = InferenceServicer(scoring, None)
            replies = [reply async for reply in servicer.ModelStreamInfer(requests(), Context())]
        finally:
            await scoring.close()
        return [pb.ModelStreamInferResponse.FromString(reply) for reply in replies], record, metrics

    replies, record, metrics = asyncio.run(ask())
    assert [reply.infer_response.id for reply in replies] == ["0", "1", "2"]
    assert [reply.error_message for reply in replies] == ["", "internal error; the server's log says where", ""]
    assert record.error_type == "ValueError"
    assert metrics.registry.get_sample_value("anomaly_vae_stream_errors_total", {"grpc_code": "Internal"}) == 1
