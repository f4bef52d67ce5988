"""The Open Inference Protocol with our own stubs: the scorer's bits, and each refusal with its field."""

import asyncio

import grpc
import numpy as np
import pytest

from anomaly_vae.service.call_errors import CallError
from anomaly_vae.service.pb import inference_pb2 as pb
from anomaly_vae.service.pb.inference_pb2_grpc import GRPCInferenceServiceStub
from anomaly_vae.service.rpc.inference_messages import OUTPUTS
from anomaly_vae.service.rpc.inference_servicer import INFERENCE, InferenceServicer
from anomaly_vae.service.scoring import Scoring
from anomaly_vae.service.served import Served
from anomaly_vae.service.settings import ServeConfig
from anomaly_vae.service.telemetry.metrics import Metrics
from tests.support.data import make_rows
from tests.support.inference_requests import (
    DTYPES,
    ROWS,
    infer,
    many_parameters,
    number,
    parameter,
    raw,
    request,
    shaped,
    sized,
    typed,
    values_of,
    wanted,
    with_cell,
    x,
)
from tests.support.log_lines import calls_in, lines_of
from tests.support.running import INVALID, fault_of, running, send_bytes, tensor
from tests.support.running import score as score_rows
from tests.support.served import serve

NOT_FOUND = grpc.StatusCode.NOT_FOUND
INFER = f"/{INFERENCE}/ModelInfer"


@pytest.fixture(scope="module")
def service(model_path):
    with running(model_path, "--max-rows", "1000") as service:
        yield service


def assert_same_bits(reply, scores, names=tuple(OUTPUTS)):
    found = values_of(reply)
    assert tuple(found) == tuple(names)
    for name, values in found.items():
        expected = getattr(scores, name)
        assert (values.dtype, values.tobytes()) == (expected.dtype, expected.tobytes()), name


@pytest.mark.parametrize("num_rows", [1, 2, 17, 300])
def test_rows_score_as_in_the_scorer_bit_for_bit(channel, scorer, num_rows):
    rows = make_rows(num_rows, seed=num_rows)
    assert_same_bits(infer(channel, request(rows)), scorer.score(rows))


def test_float32_rows_score_as_their_float64_values(channel, scorer, new_rows):
    assert_same_bits(infer(channel, request(new_rows, "FP32")), scorer.score(new_rows.astype(np.float32)))


@pytest.mark.parametrize("datatype", ["FP32", "FP64"])
def test_typed_contents_score_as_raw_ones(channel, scorer, new_rows, datatype):
    rows = new_rows.astype(DTYPES[datatype])
    assert_same_bits(infer(channel, request(**typed(rows, datatype))), scorer.score(rows))


def test_large_messages_of_both_kinds_score_alike(service, model_path, scorer):
    """Above a quarter of a megabyte they are checked before they are parsed, in a thread."""
    with running(model_path) as service, service.channel() as channel:
        rows = make_rows(16_384, seed=3)
        names = ["elbo", "log_px"]
        others = many_parameters(63)
        few = wanted(*names, **others) | {"parameters": {"num_samples": number(16)} | others}
        by_raw = values_of(infer(channel, request(rows, **few)))
        by_type = values_of(infer(channel, request(**typed(rows) | few)))
        expected = scorer.score_rows(rows, num_samples=16)
        for name in names:
            assert by_raw[name].tobytes() == by_type[name].tobytes() == getattr(expected, name).tobytes()


def test_a_missing_cell_is_nan_and_scored(channel, scorer):
    rows = make_rows(20, seed=2)
    rows[np.random.default_rng(0).random(rows.shape) < 0.3] = np.nan
    scores = scorer.score(rows)
    assert np.any(scores.score != scores.log_px)
    assert_same_bits(infer(channel, request(rows)), scores)


def test_only_the_requested_outputs_are_returned_in_the_requested_order(channel, scorer):
    names = ("is_anomaly", "log_px", "score")
    assert_same_bits(infer(channel, request(**wanted(*names))), scorer.score(ROWS), names)


def test_the_reply_says_what_scored(channel):
    for version in ("", "1"):
        reply = infer(channel, request(id="order 66", model_version=version))
        assert (reply.model_name, reply.model_version, reply.id) == ("model", "1", "order 66")


@pytest.mark.parametrize(
    "value", [number(64), pb.InferParameter(uint64_param=64), pb.InferParameter(string_param="64")]
)
def test_another_budget_returns_the_outputs_that_need_no_calibration(channel, scorer, value):
    expected = scorer.score_rows(ROWS, num_samples=64)
    reply = infer(channel, request(parameters={"num_samples": value}))
    assert_same_bits(reply, expected, ("log_px", "elbo", "std_error", "score"))


@pytest.mark.parametrize("samples", [0, 4096])
def test_the_calibrated_budget_by_name_is_the_default(channel, scorer, samples):
    reply = infer(channel, request(parameters={"num_samples": number(samples)}))
    assert_same_bits(reply, scorer.score(ROWS))


def test_priority_and_a_long_timeout_change_nothing(channel, scorer):
    parameters = {
        "priority": pb.InferParameter(uint64_param=2**64 - 1),
        "timeout": pb.InferParameter(string_param=str(10**18)),
    }
    assert_same_bits(infer(channel, request(parameters=parameters)), scorer.score(ROWS))
    parameters = {"timeout": number(0)}
    assert_same_bits(infer(channel, request(parameters=parameters)), scorer.score(ROWS))


IGNORED = {
    "of others": {"content_type": pb.InferParameter(string_param="np"), "scale": pb.InferParameter(double_param=2.0)},
    "of sequences": {
        "sequence_id": number(7),
        "sequence_start": pb.InferParameter(bool_param=True),
        "sequence_end": pb.InferParameter(bool_param=True),
    },
    "of streams": {"triton_enable_empty_final_response": pb.InferParameter(bool_param=True)},
    "of JSON": {"binary_data": pb.InferParameter(bool_param=False), "binary_data_output": number(0)},
    "without a value": {"user": pb.InferParameter()},
    "with an endless name": {"a" * 9000: number(1)},
    "as many as may be": {f"p{i}": number(i) for i in range(64)},
}


@pytest.mark.parametrize("name", IGNORED)
def test_unknown_parameters_change_nothing_wherever_they_are(channel, scorer, name):
    """Each row is scored alone and outputs are always raw, so that none of these could change a reply."""
    parameters, outputs = IGNORED[name], wanted("log_px", "is_anomaly", **IGNORED[name])
    full = {"inputs": [x(parameters=parameters)], "parameters": parameters} | outputs
    assert_same_bits(infer(channel, request(**full)), scorer.score(ROWS), ("log_px", "is_anomaly"))


@pytest.mark.parametrize(
    "value", [number(240), pb.InferParameter(uint64_param=240), pb.InferParameter(string_param="240")]
)
def test_the_size_of_the_values_may_be_sent_with_them(channel, scorer, value):
    """KServe's client always sends it."""
    assert_same_bits(infer(channel, request(**sized(value))), scorer.score(ROWS))
    assert_same_bits(infer(channel, request(**typed() | sized(value, typed()))), scorer.score(ROWS))


def test_the_timeout_parameter_ends_a_request_and_its_computation(service, channel):
    rejected = service.metric("anomaly_vae_rejected_total", reason="deadline")
    slow = request(make_rows(1000), parameters={"timeout": number(100_000), "num_samples": number(2048)})
    code, details, _ = fault_of(infer, channel, slow)
    assert code is grpc.StatusCode.DEADLINE_EXCEEDED
    assert "timeout" in details
    assert service.metric("anomaly_vae_queue_rows") == 0
    assert service.metric("anomaly_vae_rejected_total", reason="deadline") == rejected + 1


def test_with_a_timeout_in_the_past_nothing_is_scored(model_path):
    with running(model_path) as service, service.channel() as channel:
        code, _, _ = fault_of(infer, channel, request(**parameter("timeout", int64_param=1)))
        assert code is grpc.StatusCode.DEADLINE_EXCEEDED
        assert service.metric("anomaly_vae_batch_rows_count") == 0


ERRORS = {
    "infinity": ({"raw_input_contents": [raw(with_cell(np.inf))]}, "raw_input_contents[0]", "row 2, column 'flow'"),
    "a long region": (
        wanted("elbo", **{"shared_memory_" + "a" * 9000: number(1)}), "outputs[0].parameters", "is not offered here"
    ),
    "an odd budget": (parameter("num_samples", int64_param=17), "parameters.num_samples", "is 17, expected 0"),
    "a flood of parameters": ({"parameters": many_parameters(9000)}, "parameters", "has 9000 entries"),
}  # fmt: skip


@pytest.mark.parametrize("name", ERRORS)
def test_an_invalid_request_is_refused_with_its_field(channel, name):
    fields, field, text = ERRORS[name]
    code, details, found = fault_of(infer, channel, request(**fields))
    assert (code, found) == (INVALID, [field]), details
    assert details.startswith(f"{field}: ")
    assert text in details
    assert len(details) < 600


@pytest.mark.parametrize(
    ("name", "version", "field"), [("other", "", "name"), ("", "", "name"), ("model", "2", "version")]
)
def test_another_model_or_version_is_not_found(channel, name, version, field):
    """As in Triton, the name is required, and the version may be empty."""
    stub = GRPCInferenceServiceStub(channel)
    code, details, fields = fault_of(infer, channel, request(model_name=name, model_version=version))
    assert (code, fields) == (NOT_FOUND, [f"model_{field}"])
    assert "is not served here" in details
    for call, message in ((stub.ModelMetadata, pb.ModelMetadataRequest), (stub.ModelConfig, pb.ModelConfigRequest)):
        assert fault_of(call, message(name=name, version=version), timeout=10)[::2] == (NOT_FOUND, [field])
    assert not stub.ModelReady(pb.ModelReadyRequest(name=name, version=version), timeout=10).ready


def test_a_serving_server_is_live_and_ready(channel):
    stub = GRPCInferenceServiceStub(channel)
    assert stub.ServerLive(pb.ServerLiveRequest(), timeout=10).live
    assert stub.ServerReady(pb.ServerReadyRequest(), timeout=10).ready
    for version in ("", "1"):
        assert stub.ModelReady(pb.ModelReadyRequest(name="model", version=version), timeout=10).ready


def test_a_loading_or_draining_server_is_live_but_not_ready(model_path, scorer):
    served = Served("model", "1", scorer, scorer.budgets)

    async def ask(loaded, drained):
        scoring = Scoring(ServeConfig(model=model_path), Metrics(1, 1), threads=1)
        if loaded:
            serve(scoring, served)
        if drained:
            scoring.drained.set()
        servicer = InferenceServicer(scoring, None)
        try:
            live = await servicer.ServerLive(pb.ServerLiveRequest(), None)
            ready = await servicer.ServerReady(pb.ServerReadyRequest(), None)
            model = await servicer.ModelReady(pb.ModelReadyRequest(name="model"), None)
            fault = None
            try:
                await servicer.ModelMetadata(pb.ModelMetadataRequest(name="model"), None)
            except CallError as raised:
                fault = raised.code
            return live.live, ready.ready, model.ready, fault
        finally:
            await scoring.close()

    unavailable = grpc.StatusCode.UNAVAILABLE
    assert asyncio.run(ask(loaded=False, drained=False)) == (True, False, False, unavailable)
    assert asyncio.run(ask(loaded=True, drained=True)) == (True, False, False, unavailable)
    assert asyncio.run(ask(loaded=True, drained=False)) == (True, True, True, None)


def test_methods_that_are_not_offered_are_unimplemented(channel):
    for method in ("TraceSetting", "SystemSharedMemoryRegister", "LogSettings"):
        code, _, _ = fault_of(send_bytes, channel, b"", f"/{INFERENCE}/{method}")
        assert code is grpc.StatusCode.UNIMPLEMENTED


def test_calls_rows_and_stages_are_counted_like_those_of_the_other_service(model_path):
    with running(model_path) as service, service.channel() as channel:
        for method in ("ModelInfer", "ModelReady", "ServerLive"):
            labels = {"grpc_service": INFERENCE, "grpc_method": method, "grpc_type": "unary"}
            assert service.metric("grpc_server_handled_total", grpc_code="OK", **labels) == 0
        infer(channel, request())
        score_rows(channel, tensor=tensor(ROWS))
        fault_of(infer, channel, request(raw_input_contents=[raw(with_cell(np.inf))]))
        fault_of(infer, channel, request(**wanted("log_p")))
        fault_of(infer, channel, request(**shaped(2**62, 2**62)))
        assert service.metric("anomaly_vae_rows_total", outcome="invalid") == 12
        assert service.metric("anomaly_vae_p_value_count") == 12
        for stage in ("queue", "decode", "infer", "encode"):
            assert service.metric("anomaly_vae_stage_seconds_count", stage=stage) == 2
        labels = {"grpc_service": INFERENCE, "grpc_method": "ModelInfer"}
        assert service.metric("grpc_server_handled_total", grpc_code="OK", **labels) == 1
        assert service.metric("grpc_server_handled_total", grpc_code="InvalidArgument", **labels) == 3


def test_a_refused_request_is_logged_by_its_id_and_rows(model_path):
    with running(model_path, "--log-format", "json") as service, service.channel() as channel:
        fault_of(infer, channel, request(id="order 67", raw_input_contents=[raw(with_cell(np.inf))]))
        assert service.stop() == 0
        (call,) = calls_in(lines_of(service))
    assert (call["grpc_service"], call["grpc_method"], call["grpc_code"]) == (INFERENCE, "ModelInfer", INVALID.name)
    assert (call["request_id"], call["rows"], call["model_version"]) == ("order 67", 6, "1")
