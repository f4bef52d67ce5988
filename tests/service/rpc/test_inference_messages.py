"""ModelInferRequest to rows, and scores to ModelInferResponse, without a service."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anomaly_vae.service.call_errors import CallError
from anomaly_vae.service.pb import inference_pb2 as pb
from anomaly_vae.service.rpc.inference_messages import (
    OUTPUTS,
    count_rows,
    outputs_of,
    parse_infer,
    reply_of,
    rows_of,
)
from tests.support.inference_requests import (
    DTYPES,
    SHARED,
    many_parameters,
    number,
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
from tests.support.running import INVALID
from tests.support.served import LIMITS, SCHEMA, scores_of
from tests.support.shaped import IMAGE, images, schema_with
from tests.support.wire import entry

SIZE = "inputs[0].parameters.binary_data_size"
ERRORS = {
    "no input": ({"inputs": [], "raw_input_contents": []}, "inputs", "has none, expected one, 'x'"),
    "another input": ({"inputs": [x(name="y")]}, "inputs[0].name", "is 'y', expected 'x'"),
    "a long name": ({"inputs": [x(name="x" * 9000)]}, "inputs[0].name", "expected 'x'"),
    "an input too many": ({"inputs": [x(), x(name="y")]}, "inputs[1].name", "is 'y', expected 'x'"),
    "an input twice": ({"inputs": [x(), x()]}, "inputs[1].name", "'x' is given twice"),
    "no values": ({"raw_input_contents": []}, "raw_input_contents", "has no entry for 'x'"),
    "values twice": ({"raw_input_contents": [raw(), raw()]}, "raw_input_contents", "has 2 entries, expected one"),
    "raw and typed": (typed() | {"raw_input_contents": [raw()]}, "inputs[0].contents", "although raw_input_contents"),
    "raw and empty typed": ({"inputs": [x(contents=pb.InferTensorContents())]}, "inputs[0].contents", "is set"),
    "no datatype": (shaped(6, 5, datatype=""), "inputs[0].datatype", "is '', expected FP32, FP64 or UINT8"),
    "integers": (shaped(6, 5, datatype="INT64"), "inputs[0].datatype", "is 'INT64', expected FP32, FP64 or UINT8"),
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
    "typed otherwise": (typed(fp32_contents=[1.0] * 30), "inputs[0].contents", "FP64 values belong in fp64_contents"),
    "typed twice": (
        typed(datatype="FP32", fp32_contents=[1.0] * 30, bool_contents=[True]), "inputs[0].contents", "bool_contents"
    ),
    "a byte too large": (typed(datatype="UINT8", uint_contents=[1] * 29 + [256]), "inputs[0].contents",
                         "has 256 in uint_contents, UINT8 values are 0 to 255"),
    "few typed bytes": (typed(datatype="UINT8", uint_contents=[1] * 29), "inputs[0].contents", "has 29 bytes"),
    "infinity": ({"raw_input_contents": [raw(with_cell(np.inf))]}, "raw_input_contents[0]", "row 2, column 'flow'"),
    "typed infinity": (typed(with_cell(-np.inf), "FP32"), "inputs[0].contents", "row 2, column 'flow' is -inf"),
    "shared memory in": ({"inputs": [x(parameters=SHARED)]}, "inputs[0].parameters", "shared_memory"),
    "shared memory out": (wanted("elbo", **SHARED), "outputs[0].parameters", "is not offered here: leave it out"),
    "a long region": (
        wanted("elbo", **{"shared_memory_" + "a" * 9000: number(1)}), "outputs[0].parameters", "is not offered here"
    ),
    "classification": (wanted("elbo", classification=number(2)), "outputs[0].parameters", "'classification' is not"),
    "a short size": (sized(number(239)), SIZE, "is 239, the values have 240 bytes; correct it or leave it out"),
    "a long size": (sized(number(2**62)), SIZE, f"is {2**62}, the values have 240 bytes"),
    "a size in words": (sized(pb.InferParameter(string_param="all")), SIZE, "must be a whole number"),
    "a negative size": (sized(number(-240)), SIZE, "must be a whole number"),
    "a size of typed values": (typed() | sized(number(120), typed()), SIZE, "is 120, the values have 240 bytes"),
    "a budget of an input": (
        {"inputs": [x(parameters={"num_samples": number(64)})]}, "inputs[0].parameters", "in the request's own"
    ),
    "a budget of an output": (wanted("elbo", num_samples=number(64)), "outputs[0].parameters", "in the request's own"),
    "many of an input": ({"inputs": [x(parameters=many_parameters(65))]}, "inputs[0].parameters", "has 65 entries"),
    "many of an output": (wanted("elbo", **many_parameters(65)), "outputs[0].parameters", "has 65 entries"),
    "an unknown output": (wanted("log_p"), "outputs[0].name", "is 'log_p', expected one of log_px, elbo, std_error"),
    "an output twice": (wanted("elbo", "elbo"), "outputs[1].name", "twice"),
    "a long id": ({"id": "x" * 129}, "id", "at most 128"),
    "an id of two lines": ({"id": "a\nb"}, "id", "printable"),
}  # fmt: skip


def read(message):
    """Return the rows of a request, after every check of it."""
    message = parse_infer(message.SerializeToString())
    outputs_of(message, calibrated=True)
    return rows_of(message, SCHEMA, LIMITS)


@pytest.mark.parametrize("name", ERRORS)
def test_an_invalid_request_is_refused_with_its_field(name):
    fields, field, text = ERRORS[name]
    with pytest.raises(CallError) as error:
        read(request(**fields))
    assert (error.value.code, error.value.field) == (INVALID, field)
    assert text in error.value.text
    assert len(error.value.message) < 600


@pytest.mark.parametrize(
    "data", [b"\xff\xff\xff", b"\x0a\x05ab", b"\x0a\x02\xc3\x28", bytes(range(256)), b"\xff" * 2**19]
)
def test_bytes_that_are_no_message_are_invalid(data):
    with pytest.raises(CallError, match="the message cannot be parsed") as error:
        parse_infer(data)
    assert (error.value.code, error.value.field) == (INVALID, "ModelInferRequest")


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
    "bytes": (entry(5, entry(5, entry(4, b"\1" * (2**22 + 1)))), "inputs[0].contents"),
    "bytes in parts": (entry(5, entry(5, entry(4, b"\1" * 2**21) * 3)), "inputs[0].contents"),
}


@pytest.mark.parametrize("name", FLOODS)
def test_floods_are_refused_before_they_are_parsed(name):
    data, field = FLOODS[name]
    with pytest.raises(CallError) as error:
        parse_infer(data)
    assert (error.value.code, error.value.field) == (INVALID, field)


numbers = st.one_of(st.floats(allow_infinity=False, width=32), st.integers(-(2**20), 2**20).map(float))


@pytest.mark.parametrize("datatype", ["FP32", "FP64"])
@pytest.mark.parametrize("make", [lambda *of: {}, typed], ids=["raw", "typed"])
@given(st.lists(st.tuples(*[numbers] * 5), min_size=1, max_size=4))
def test_rows_come_back_as_they_were_sent(make, datatype, rows):
    """Every value here is a float32, so that both types keep it; NaN marks a missing cell."""
    rows = np.array(rows)
    message = request(rows, datatype, **make(rows, datatype))
    np.testing.assert_array_equal(read(message), rows)
    assert count_rows(message) == len(rows)


@pytest.mark.parametrize("shape", [(6, 12), (6, 3, 4, 1), (6, 3, 4)])
@pytest.mark.parametrize("datatype", ["UINT8", "FP32", "FP64"])
@pytest.mark.parametrize("contents", ["raw", "typed"])
def test_images_are_the_same_rows_in_every_form(shape, datatype, contents):
    pixels = images(6)
    values = {"UINT8": "uint_contents", "FP32": "fp32_contents", "FP64": "fp64_contents"}[datatype]
    given_as = {
        "raw": shaped(*shape, datatype=datatype, data=pixels.astype(DTYPES[datatype]).tobytes()),
        "typed": typed(datatype=datatype, shape=shape, **{values: pixels.ravel().tolist()}),
    }
    message = parse_infer(request(**given_as[contents]).SerializeToString())
    assert count_rows(message) == 6
    np.testing.assert_array_equal(rows_of(message, schema_with(IMAGE), LIMITS), pixels.reshape(6, 12))


@pytest.mark.parametrize(
    ("fields", "rows"),
    [
        ({}, 6),
        (typed(), 6),
        (typed(datatype="FP32"), 6),
        (shaped(7, 5), 0),
        (shaped(-6, -5), 0),
        (shaped(30), 0),
        (shaped(2**62, 2**62), 0),
        (shaped(6, 5, datatype="INT64"), 0),
        (shaped(6, 5, datatype="UINT8", data=bytes(30)), 6),
        (typed(datatype="UINT8", uint_contents=[1] * 30), 6),
        (shaped(6, 5, 1), 6),
        (shaped(6, 5, 1, 1, 1), 0),
    ],
)
def test_rows_are_counted_only_if_the_claim_fits_the_bytes(fields, rows):
    assert count_rows(request(**fields)) == rows


def test_without_wanted_outputs_all_that_the_budget_gives_are_returned():
    assert outputs_of(request(), calibrated=True) == tuple(OUTPUTS)
    assert outputs_of(request(), calibrated=False) == ("log_px", "elbo", "std_error", "score")
    assert outputs_of(request(**wanted("score", "elbo")), calibrated=False) == ("score", "elbo")


def test_a_reply_holds_the_bits_of_the_scores_in_the_order_of_the_outputs():
    """Read by numpy with the types and shapes that the reply names."""
    scores, names = scores_of(7), ("is_anomaly", "log_px", "p_value", "score", "std_error", "elbo")
    reply = pb.ModelInferResponse.FromString(reply_of(("fraud", "3"), "order 66", names, scores).SerializeToString())
    assert (reply.model_name, reply.model_version, reply.id) == ("fraud", "3", "order 66")
    found = values_of(reply)
    assert tuple(found) == names
    for name, values in found.items():
        assert values.dtype == np.dtype(DTYPES[OUTPUTS[name]])
        assert values.tobytes() == getattr(scores, name).tobytes(), name
