"""The Open Inference Protocol with our own stubs: the scorer's bits, and every refusal with its field."""

import asyncio

import grpc
import numpy as np
import pytest

import anomaly_vae
from anomaly_vae.service.config import ServeConfig
from anomaly_vae.service.faults import Fault
from anomaly_vae.service.inference import INFERENCE, InferenceServicer
from anomaly_vae.service.inference_convert import OUTPUTS
from anomaly_vae.service.metrics import Metrics
from anomaly_vae.service.pb import inference_pb2 as pb
from anomaly_vae.service.pb.inference_pb2_grpc import GRPCInferenceServiceStub
from anomaly_vae.service.scoring import Scoring
from anomaly_vae.service.served import Served
from tests.conftest import NAMES, make_rows
from tests.service.running import fault_of, running, send_bytes, tensor
from tests.service.running import score as score_rows
from tests.service.test_logs import calls_in, lines_of
from tests.service.test_refusals import entry

INVALID, NOT_FOUND = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND
ROWS = make_rows(6, seed=5)
INFER = f"/{INFERENCE}/ModelInfer"
DTYPES = {"FP32": "<f4", "FP64": "<f8", "BOOL": "?"}


@pytest.fixture(scope="module")
def service(model_path):
    with running(model_path, "--max-rows", "1000") as service:
        yield service


def x(rows=ROWS, datatype="FP64", shape=None, name="x", **fields):
    return pb.ModelInferRequest.InferInputTensor(
        name=name, datatype=datatype, shape=np.shape(rows) if shape is None else shape, **fields
    )


def raw(rows=ROWS, datatype="FP64"):
    return np.asarray(rows).astype(DTYPES[datatype]).tobytes()


def request(rows=ROWS, datatype="FP64", **fields):
    """A valid request, of which any field can be replaced."""
    valid = {
        "model_name": "model",
        "inputs": [x(rows, datatype)],
        "raw_input_contents": [raw(rows, datatype)],
    }
    return pb.ModelInferRequest(**valid | fields)


def wanted(*names, **parameters):
    tensor = pb.ModelInferRequest.InferRequestedOutputTensor
    return {"outputs": [tensor(name=name, parameters=parameters) for name in names]}


def typed(rows=ROWS, datatype="FP64", shape=None, **contents):
    values = contents or {"fp64_contents" if datatype == "FP64" else "fp32_contents": np.ravel(rows)}
    return {
        "inputs": [x(rows, datatype, shape, contents=pb.InferTensorContents(**values))],
        "raw_input_contents": [],
    }


def number(value):
    return pb.InferParameter(int64_param=value)


def infer(channel, message, timeout=60):
    return GRPCInferenceServiceStub(channel).ModelInfer(message, timeout=timeout)


def values_of(reply):
    """The outputs by name, each checked to be as the protocol says."""
    assert len(reply.outputs) == len(reply.raw_output_contents)
    found = {}
    for output, data in zip(reply.outputs, reply.raw_output_contents, strict=True):
        assert not output.HasField("contents")
        assert output.datatype == OUTPUTS[output.name]
        found[output.name] = np.frombuffer(data, DTYPES[output.datatype]).reshape(tuple(output.shape))
    return found


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
    """Beyond a quarter of a megabyte other code reads them, on another thread."""
    with running(model_path) as service, service.channel() as channel:
        rows = make_rows(16_384, seed=3)
        names = ["elbo", "log_px"]
        others = many_parameters(63)
        few = wanted(*names, **others) | {"parameters": {"num_samples": number(16)} | others}
        by_raw = values_of(infer(channel, request(rows, **few)))
        by_type = values_of(infer(channel, request(**typed(rows) | few)))
        expected = scorer.score_rows(rows, 16)
        for name in names:
            assert by_raw[name].tobytes() == by_type[name].tobytes() == getattr(expected, name).tobytes()


def test_a_missing_cell_is_nan_and_scored(channel, scorer):
    rows = make_rows(20, seed=2)
    rows[np.random.default_rng(0).random(rows.shape) < 0.3] = np.nan
    scores = scorer.score(rows)
    assert np.any(scores.score != scores.log_px)
    assert_same_bits(infer(channel, request(rows)), scores)


def test_only_the_outputs_asked_for_come_in_the_order_asked(channel, scorer):
    names = ("is_anomaly", "log_px", "score")
    assert_same_bits(infer(channel, request(**wanted(*names))), scorer.score(ROWS), names)


def test_the_reply_says_what_scored(channel):
    for version in ("", "1"):
        reply = infer(channel, request(id="order 66", model_version=version))
        assert (reply.model_name, reply.model_version, reply.id) == ("model", "1", "order 66")


@pytest.mark.parametrize(
    "value", [number(64), pb.InferParameter(uint64_param=64), pb.InferParameter(string_param="64")]
)
def test_another_budget_gives_what_needs_no_calibration(channel, scorer, value):
    expected = scorer.score_rows(ROWS, 64)
    reply = infer(channel, request(parameters={"num_samples": value}))
    assert_same_bits(reply, expected, ("log_px", "elbo", "std_error", "score"))


@pytest.mark.parametrize("samples", [0, 1024])
def test_the_calibrated_budget_by_name_is_the_default(channel, scorer, samples):
    reply = infer(channel, request(parameters={"num_samples": number(samples)}))
    assert_same_bits(reply, scorer.score(ROWS))


def test_priority_changes_nothing_and_a_long_timeout_neither(channel, scorer):
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
def test_other_parameters_change_nothing_wherever_they_are(channel, scorer, name):
    """Rows are scored each by itself and outputs are raw whatever is asked: nothing of it could be done otherwise."""
    parameters, outputs = IGNORED[name], wanted("log_px", "is_anomaly", **IGNORED[name])
    full = {"inputs": [x(parameters=parameters)], "parameters": parameters} | outputs
    assert_same_bits(infer(channel, request(**full)), scorer.score(ROWS), ("log_px", "is_anomaly"))


@pytest.mark.parametrize(
    "value", [number(240), pb.InferParameter(uint64_param=240), pb.InferParameter(string_param="240")]
)
def test_a_size_may_be_told_with_the_values(channel, scorer, value):
    """KServe's client always does."""
    assert_same_bits(infer(channel, request(**sized(value))), scorer.score(ROWS))
    assert_same_bits(infer(channel, request(**typed() | sized(value, typed()))), scorer.score(ROWS))


def test_the_timeout_parameter_ends_a_request_and_its_work(service, channel):
    rejected = service.metric("anomaly_vae_rejected_total", reason="deadline")
    slow = request(make_rows(1000), parameters={"timeout": number(300_000), "num_samples": number(4096)})
    code, details, _ = fault_of(infer, channel, slow)
    assert code is grpc.StatusCode.DEADLINE_EXCEEDED
    assert "timeout" in details
    assert service.metric("anomaly_vae_queue_rows") == 0
    assert service.metric("anomaly_vae_rejected_total", reason="deadline") == rejected + 1


def test_a_timeout_that_has_passed_already_scores_nothing(model_path):
    with running(model_path) as service, service.channel() as channel:
        code, _, _ = fault_of(infer, channel, request(**parameter("timeout", int64_param=1)))
        assert code is grpc.StatusCode.DEADLINE_EXCEEDED
        assert service.metric("anomaly_vae_batch_rows_count") == 0


def with_cell(value):
    rows = ROWS.copy()
    rows[2, 1] = value
    return rows


def shaped(*shape, datatype="FP64", data=None):
    return {"inputs": [x(datatype=datatype, shape=shape)], "raw_input_contents": [raw() if data is None else data]}


def parameter(name, **value):
    return {"parameters": {name: pb.InferParameter(**value)}}


def sized(value, fields=None):
    """A request whose input says how many bytes its values have."""
    (tensor,) = (fields or {"inputs": [x()]})["inputs"]
    tensor.parameters["binary_data_size"].CopyFrom(value)
    return {"inputs": [tensor]}


def many_parameters(count):
    return {f"p{i}": number(i) for i in range(count)}


SIZE = "inputs[0].parameters.binary_data_size"
SHARED = {"shared_memory_region": pb.InferParameter(string_param="secret"), "shared_memory_byte_size": number(240)}
FAULTS = {
    "no input": ({"inputs": [], "raw_input_contents": []}, "inputs", "has none, expected one, 'x'"),
    "another input": ({"inputs": [x(name="y")]}, "inputs[0].name", "is 'y', expected 'x'"),
    "a long name": ({"inputs": [x(name="x" * 9000)]}, "inputs[0].name", "expected 'x'"),
    "an input too many": ({"inputs": [x(), x(name="y")]}, "inputs[1].name", "is 'y', expected 'x'"),
    "an input twice": ({"inputs": [x(), x()]}, "inputs[1].name", "'x' is given twice"),
    "no values": ({"raw_input_contents": []}, "raw_input_contents", "has no entry for 'x'"),
    "values twice": ({"raw_input_contents": [raw(), raw()]}, "raw_input_contents", "has 2 entries, expected one"),
    "raw and typed": (typed() | {"raw_input_contents": [raw()]}, "inputs[0].contents", "although raw_input_contents"),
    "raw and empty typed": ({"inputs": [x(contents=pb.InferTensorContents())]}, "inputs[0].contents", "is set"),
    "no datatype": (shaped(6, 5, datatype=""), "inputs[0].datatype", "is '', expected FP32 or FP64"),
    "integers": (shaped(6, 5, datatype="INT64"), "inputs[0].datatype", "is 'INT64', expected FP32 or FP64"),
    "typed integers": (typed(datatype="INT64", int64_contents=[1] * 30), "inputs[0].datatype", "is 'INT64'"),
    "no shape": (shaped(), "inputs[0].shape", "has 0 dimensions, expected 2"),
    "one dimension": (shaped(30), "inputs[0].shape", "has 1 dimensions"),
    "three dimensions": (shaped(3, 2, 5), "inputs[0].shape", "has 3 dimensions"),
    "no row": (shaped(0, 5, data=b""), "inputs[0].shape", "has 0 rows, a request may have 1 to 1000"),
    "negative": (shaped(-6, -5), "inputs[0].shape", "has -6 rows"),
    "too many rows": (shaped(1001, 5), "inputs[0].shape", "has 1001 rows"),
    "dimensions that overflow": (shaped(2**62, 2**62), "inputs[0].shape", f"has {2**62} rows"),
    "absurd columns": (shaped(6, 2**63 - 1), "inputs[0].shape", "columns, the model has 5; see ModelMetadata"),
    "too few columns": (shaped(10, 3), "inputs[0].shape", "has 3 columns"),
    "short data": (shaped(7, 5), "raw_input_contents[0]", "has 240 bytes, expected 280: 7 x 5 FP64"),
    "long data": (shaped(6, 5, datatype="FP32"), "raw_input_contents[0]", "has 240 bytes, expected 120"),
    "no data": (shaped(6, 5, data=b""), "raw_input_contents[0]", "has 0 bytes"),
    "few typed values": (typed(shape=(7, 5)), "inputs[0].contents", "has 240 bytes, expected 280"),
    "no typed values": (typed(shape=(6, 5), fp64_contents=[]), "inputs[0].contents", "has 0 bytes"),
    "typed otherwise": (typed(fp32_contents=[1.0] * 30), "inputs[0].contents", "FP64 values belong into fp64_contents"),
    "typed twice": (
        typed(datatype="FP32", fp32_contents=[1.0] * 30, bool_contents=[True]), "inputs[0].contents", "bool_contents"
    ),
    "infinity": ({"raw_input_contents": [raw(with_cell(np.inf))]}, "raw_input_contents[0]", "row 2, column 'flow'"),
    "typed infinity": (typed(with_cell(-np.inf), "FP32"), "inputs[0].contents", "row 2, column 'flow' is -inf"),
    "shared memory in": ({"inputs": [x(parameters=SHARED)]}, "inputs[0].parameters", "shared_memory"),
    "shared memory out": (wanted("elbo", **SHARED), "outputs[0].parameters", "is not offered here: leave it out"),
    "a long region": (
        wanted("elbo", **{"shared_memory_" + "a" * 9000: number(1)}), "outputs[0].parameters", "is not offered here"
    ),
    "shared memory of all": ({"parameters": SHARED}, "parameters", "'shared_memory_"),
    "classification": (wanted("elbo", classification=number(2)), "outputs[0].parameters", "'classification' is not"),
    "a short size": (sized(number(239)), SIZE, "is 239, the values have 240 bytes; correct it or leave it out"),
    "a long size": (sized(number(2**62)), SIZE, f"is {2**62}, the values have 240 bytes"),
    "a size in words": (sized(pb.InferParameter(string_param="all")), SIZE, "must be a whole number"),
    "a negative size": (sized(number(-240)), SIZE, "must be a whole number"),
    "a size of typed values": (typed() | sized(number(120), typed()), SIZE, "is 120, the values have 240 bytes"),
    "another option's name": (parameter("max_std_error", string_param="0.1"), "parameters", "'max_std_error' is not"),
    "an option in full": (parameter("flag_only", bool_param=True), "parameters", "anomaly_vae.v1.ScoringService"),
    "a misspelt budget": (parameter("num_sample", int64_param=64), "parameters", "'num_sample' is not known here"),
    "a budget in capitals": (parameter("NumSamples", int64_param=64), "parameters", "name it num_samples, in the"),
    "a budget of an input": (
        {"inputs": [x(parameters={"num_samples": number(64)})]}, "inputs[0].parameters", "in the request's own"
    ),
    "a budget of an output": (wanted("elbo", num_samples=number(64)), "outputs[0].parameters", "in the request's own"),
    "many parameters": ({"parameters": many_parameters(65)}, "parameters", "has 65 entries, at most 64 may be"),
    "a flood of parameters": ({"parameters": many_parameters(9000)}, "parameters", "has 9000 entries"),
    "many of an input": ({"inputs": [x(parameters=many_parameters(65))]}, "inputs[0].parameters", "has 65 entries"),
    "many of an output": (wanted("elbo", **many_parameters(65)), "outputs[0].parameters", "has 65 entries"),
    "an unknown output": (wanted("log_p"), "outputs[0].name", "is 'log_p', expected one of log_px, elbo, std_error"),
    "an output twice": (wanted("elbo", "elbo"), "outputs[1].name", "twice"),
    "a p-value of another budget": (
        wanted("p_value") | parameter("num_samples", int64_param=64), "outputs[0].name", "only the calibrated budget"
    ),
    "a flag of another budget": (
        wanted("is_anomaly") | parameter("num_samples", int64_param=64), "outputs[0].name", "leave out num_samples"
    ),
    "an odd budget": (parameter("num_samples", int64_param=17), "parameters.num_samples", "is 17, expected 0"),
    "a negative budget": (parameter("num_samples", int64_param=-16), "parameters.num_samples", "whole number"),
    "an absurd budget": (parameter("num_samples", uint64_param=2**64 - 1), "parameters.num_samples", "expected 0"),
    "a broken budget": (parameter("num_samples", double_param=64.0), "parameters.num_samples", "whole number"),
    "a budget in words": (parameter("num_samples", string_param="٣"), "parameters.num_samples", "text of digits"),
    "an empty timeout": (parameter("timeout"), "parameters.timeout", "whole number"),
    "a boolean timeout": (parameter("timeout", bool_param=True), "parameters.timeout", "whole number"),
    "a negative timeout": (parameter("timeout", int64_param=-1), "parameters.timeout", "whole number"),
    "an endless timeout": (parameter("timeout", string_param="9" * 5000), "parameters.timeout", "whole number"),
    "a priority in words": (parameter("priority", string_param="high"), "parameters.priority", "whole number"),
    "a long id": ({"id": "x" * 129}, "id", "at most 128"),
    "an id of two lines": ({"id": "a\nb"}, "id", "printable"),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_an_invalid_request_is_told_its_field(channel, name):
    fields, field, text = FAULTS[name]
    code, details, found = fault_of(infer, channel, request(**fields))
    assert (code, found) == (INVALID, [field]), details
    assert details.startswith(f"{field}: ")
    assert text in details
    assert len(details) < 600


@pytest.mark.parametrize(
    ("name", "version", "field"), [("other", "", "name"), ("", "", "name"), ("model", "2", "version")]
)
def test_another_model_or_version_is_not_found(channel, name, version, field):
    """As in Triton a model must be named; only its version may be left out."""
    stub = GRPCInferenceServiceStub(channel)
    code, details, fields = fault_of(infer, channel, request(model_name=name, model_version=version))
    assert (code, fields) == (NOT_FOUND, [f"model_{field}"])
    assert "is not served here" in details
    for call, message in ((stub.ModelMetadata, pb.ModelMetadataRequest), (stub.ModelConfig, pb.ModelConfigRequest)):
        assert fault_of(call, message(name=name, version=version), timeout=10)[::2] == (NOT_FOUND, [field])
    assert not stub.ModelReady(pb.ModelReadyRequest(name=name, version=version), timeout=10).ready


@pytest.mark.parametrize(
    "data", [b"\xff\xff\xff", b"\x0a\x05ab", b"\x0a\x02\xc3\x28", bytes(range(256)), b"\xff" * 2**19]
)
def test_bytes_that_are_no_message_are_invalid(channel, data):
    assert fault_of(send_bytes, channel, data, INFER)[::2] == (INVALID, ["ModelInferRequest"])


FLOOD = 2**19
FLOODS = {
    "inputs": (entry(5, b"") * FLOOD, "ModelInferRequest"),
    "outputs": (entry(6, b"") * FLOOD, "ModelInferRequest"),
    "raw contents": (entry(7, b"") * FLOOD, "ModelInferRequest"),
    "parameters": (entry(4, b"") * FLOOD, "ModelInferRequest"),
    "parameters of an input": (entry(5, entry(4, b"") * FLOOD), "inputs"),
    "parameters of an output": (entry(6, entry(2, b"") * FLOOD), "outputs"),
    "dimensions": (entry(5, entry(3, b"\1" * FLOOD)), "inputs[0].shape"),
    "unpacked dimensions": (entry(5, b"\x18\1" * FLOOD), "inputs"),
    "texts": (entry(5, entry(5, entry(8, b"") * FLOOD)), "inputs[0].contents"),
    "small numbers": (entry(5, entry(5, entry(3, b"\1" * FLOOD))), "inputs[0].contents"),
    "unpacked numbers": (entry(5, entry(5, b"\x35\0\0\0\0" * FLOOD)), "inputs[0].contents"),
}


@pytest.mark.parametrize("name", FLOODS)
def test_floods_are_refused_before_they_are_parsed(channel, name):
    data, field = FLOODS[name]
    code, details, found = fault_of(send_bytes, channel, data, INFER)
    assert (code, found) == (INVALID, [field]), details


def test_metadata_says_what_goes_in_and_comes_out(channel, scorer):
    stub = GRPCInferenceServiceStub(channel)
    model = stub.ModelMetadata(pb.ModelMetadataRequest(name="model", version="1"), timeout=10)
    assert (model.name, model.versions, model.platform) == ("model", ["1"], "anomaly_vae")
    assert [(t.name, t.datatype, t.shape) for t in model.inputs] == [("x", "FP32", [-1, len(NAMES)])]
    assert [(t.name, t.datatype, t.shape) for t in model.outputs] == [(n, t, [-1]) for n, t in OUTPUTS.items()]
    assert float(model.properties["threshold"]) == scorer.threshold
    assert model.properties["bundle_digest"] == scorer.info["bundle_digest"]
    server = stub.ServerMetadata(pb.ServerMetadataRequest(), timeout=10)
    assert (server.name, server.version) == ("anomaly_vae", anomaly_vae.__version__)
    assert server.extensions == ["model_configuration", "parameters", "statistics"]


def test_triton_s_configuration_says_the_same(channel):
    """There the rows are the batch, which dims leave out: with it they are the shapes of the metadata."""
    stub = GRPCInferenceServiceStub(channel)
    config = stub.ModelConfig(pb.ModelConfigRequest(name="model"), timeout=10).config
    model = stub.ModelMetadata(pb.ModelMetadataRequest(name="model"), timeout=10)
    assert (config.name, config.backend, config.max_batch_size) == ("model", "anomaly_vae", 1000)
    for tensors, described in ((config.input, model.inputs), (config.output, model.outputs)):
        found = [(t.name, pb.DataType.Name(t.data_type), [-1, *t.dims]) for t in tensors]
        assert found == [(t.name, f"TYPE_{t.datatype}", t.shape) for t in described]


def test_the_server_lives_and_is_ready_and_so_is_its_model(channel):
    stub = GRPCInferenceServiceStub(channel)
    assert stub.ServerLive(pb.ServerLiveRequest(), timeout=10).live
    assert stub.ServerReady(pb.ServerReadyRequest(), timeout=10).ready
    for version in ("", "1"):
        assert stub.ModelReady(pb.ModelReadyRequest(name="model", version=version), timeout=10).ready


def test_a_server_that_loads_or_drains_lives_but_is_not_ready(model_path, scorer):
    served = Served("model", "1", scorer, scorer.budgets)

    async def ask(loaded, drained):
        scoring = Scoring(ServeConfig(model=model_path), Metrics(1, 1), threads=1)
        scoring.served = served if loaded else None
        if drained:
            scoring.drained.set()
        servicer = InferenceServicer(scoring)
        try:
            live = await servicer.ServerLive(pb.ServerLiveRequest(), None)
            ready = await servicer.ServerReady(pb.ServerReadyRequest(), None)
            model = await servicer.ModelReady(pb.ModelReadyRequest(name="model"), None)
            fault = None
            try:
                await servicer.ModelMetadata(pb.ModelMetadataRequest(name="model"), None)
            except Fault as raised:
                fault = raised.code
            return live.live, ready.ready, model.ready, fault
        finally:
            await scoring.close()

    unavailable = grpc.StatusCode.UNAVAILABLE
    assert asyncio.run(ask(loaded=False, drained=False)) == (True, False, False, unavailable)
    assert asyncio.run(ask(loaded=True, drained=True)) == (True, False, False, unavailable)
    assert asyncio.run(ask(loaded=True, drained=False)) == (True, True, True, None)


def test_what_is_not_offered_is_unimplemented(channel):
    for method in ("RepositoryModelLoad", "SystemSharedMemoryRegister", "LogSettings"):
        code, _, _ = fault_of(send_bytes, channel, b"", f"/{INFERENCE}/{method}")
        assert code is grpc.StatusCode.UNIMPLEMENTED


def test_calls_rows_and_stages_are_counted_as_the_other_service_s(model_path):
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
