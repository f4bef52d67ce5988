"""Rows in JSON, in bytes and by column become the same rows as over gRPC; replies have the bits of the scores."""

import json
import math

import numpy as np
import pytest

from anomaly_vae.columns.schema import Column, Schema
from anomaly_vae.columns.shapes import ImageShape
from anomaly_vae.service.call_errors import CallError
from anomaly_vae.service.rest.infer_format import RestFormat
from tests.support.data import NAMES, make_rows
from tests.support.rest import tensor_json
from tests.support.served import LIMITS, SCHEMA, scores_of, served_model
from tests.support.shaped import schema_with

SERVED = served_model()
ROWS = make_rows(3, seed=7)


def message_of(*inputs, behind=b"", **more):
    text = json.dumps({"inputs": inputs} | more).encode()
    rest = RestFormat(LIMITS, ("model", ""), len(text) if behind else None)
    return rest, rest.parse(text + behind)


def rows_of(*inputs, served=SERVED, behind=b""):
    rest, message = message_of(*inputs, behind=behind)
    rows = rest.make_rows(served, message)
    assert rest.count_rows(served, message) == len(rows)
    return rows


def fault(*inputs, served=SERVED, behind=b""):
    with pytest.raises(CallError) as caught:
        rows_of(*inputs, served=served, behind=behind)
    return caught.value.message


def column(name, data, datatype="FP64", **more):
    return {"name": name, "datatype": datatype, "shape": [len(data)], "data": data} | more


@pytest.mark.parametrize("nested", [True, False])
def test_rows_in_json_keep_their_bits(nested):
    rows = ROWS.copy()
    rows[1, 2] = np.nan
    assert rows_of(tensor_json(rows, nested=nested)).tobytes() == rows.tobytes()


def test_fp32_rows_are_rounded_as_over_grpc():
    expected = ROWS.astype(np.float32).astype(np.float64)
    assert rows_of(tensor_json(ROWS, "FP32")).tobytes() == expected.tobytes()


@pytest.mark.parametrize("datatype", ["FP64", "FP32"])
def test_rows_may_follow_the_json_as_bytes(datatype):
    data = ROWS.astype("<f8" if datatype == "FP64" else "<f4")
    tensor = {"name": "x", "datatype": datatype, "shape": list(ROWS.shape)}
    found = rows_of(tensor | {"parameters": {"binary_data_size": data.nbytes}}, behind=data.tobytes())
    assert found.tobytes() == data.astype(np.float64).tobytes()


def test_rows_may_come_by_column():
    columns = [column(name, ROWS[:, d].tolist()) for d, name in reversed(list(enumerate(NAMES)))]
    assert rows_of(*columns, column("unknown", ["a", None, "b"], "BYTES")).tobytes() == ROWS.tobytes()


def test_columns_may_be_texts_and_have_missing_cells():
    columns = [column(name, ROWS[:, d].tolist()) for d, name in enumerate(NAMES)]
    columns[0] = column(NAMES[0], [repr(float(ROWS[0, 0])), None, "1e3"], "BYTES")
    columns[1]["data"][2] = None
    found = rows_of(*columns)
    np.testing.assert_array_equal(found[:, 0], [ROWS[0, 0], np.nan, 1e3])
    assert math.isnan(found[2, 1])


def test_a_model_with_a_column_x_takes_it_in_both_forms():
    served = served_model(Schema(columns=(Column(name="x", kind="continuous"),)))
    by_column, matrix = column("x", [1.0, 2.0]), {"name": "x", "datatype": "FP64", "shape": [2, 1], "data": [1, 2]}
    for tensor in (by_column, matrix):
        np.testing.assert_array_equal(rows_of(tensor, served=served), [[1.0], [2.0]])


def test_images_may_have_their_shape():
    served = served_model(schema_with(ImageShape(height=2, width=2, channels=1)))
    tensor = {"name": "x", "datatype": "UINT8", "shape": [1, 2, 2, 1], "data": [[[[0], [255]], [[3], [4]]]]}
    np.testing.assert_array_equal(rows_of(tensor, served=served), [[0, 255, 3, 4]])
    for wrong in (256, -1, 0.5, None):
        tensor["data"][0][0][0][0] = wrong
        assert "no whole number from 0 to 255" in fault(tensor, served=served)


X = tensor_json(ROWS)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ([X | {"datatype": "INT64"}], "inputs[0].datatype: is 'INT64', expected FP32, FP64 or UINT8"),
        ([X | {"shape": [15]}], "inputs[0].shape: has 1 dimensions, expected 2: rows, columns"),
        ([X | {"shape": []}], "inputs[0].shape: has 0 dimensions, expected 2"),
        ([X | {"shape": [3, 4]}], "inputs[0].shape: has 4 columns, the model has 5; see GET /v2/models/NAME"),
        ([X | {"shape": [10**18, 5]}], "inputs[0].shape: has 1000000000000000000 rows, a request may have 1 to 1000"),
        ([X | {"shape": [-3, -5]}], "inputs[0].shape: has -3 rows"),
        ([X | {"shape": [2, 5]}], "inputs[0].data: has 15 values, expected 10: 2 x 5"),
        ([X, X], "inputs[0].shape: is [3, 5], expected [N] for the N values of the column 'x'"),
        ([tensor_json(ROWS * 1e300, "FP32")], "inputs[0].data: row 0, column 'pressure' is inf"),
        ([column("flow", [1.0])], "inputs: 4 of the model's 5 columns are missing"),
        ([column("flow", ["a"])], "inputs[0].data: row 0: is neither a number"),
        ([column("flow", [1.0], "INT32")], "inputs[0].datatype: is 'INT32', expected FP64, FP32, or in JSON BYTES"),
        ([column("flow", [1.0], shape=[2])], "inputs[0].data: has 1 values, expected 2"),
        ([column("flow", ["1"], "BYTES", shape=[2])], "inputs[0].data: has 1 values or bytes, the shape says 2"),
        ([column("flow", [1.0], shape=[1, 2])], "inputs[0].shape: is [1, 2], expected [N] for the N values"),
        ([column("flow", [1.0], shape=[])], "inputs[0].shape: is [], expected [N]"),
    ],
)
def test_rows_that_cannot_be_scored_are_refused_with_their_field(inputs, message):
    assert fault(*inputs).startswith(message)


def test_errors_in_columns_have_the_names_of_json():
    columns = [column(name, ROWS[:, d].tolist()) for d, name in enumerate(NAMES)]
    short = [*columns[:2], column(NAMES[2], [1.0]), *columns[3:]]
    assert fault(*short) == f"inputs[2].data: {NAMES[2]!r} has 1 rows, {NAMES[0]!r} has 3"
    word = [column(NAMES[0], ["a", "1", "2"], "BYTES"), *columns[1:]]
    assert fault(*word).startswith(f"inputs[0].data: row 0, column {NAMES[0]!r}: 'a' is not a number")
    assert fault(*columns, columns[0]).startswith(f"inputs: column {NAMES[0]!r} appears 2 times")


def reply(**more):
    rest, message = message_of(X, **more)
    scores = scores_of(3)
    scores.log_px[1] = -np.inf
    options = rest.options(SERVED, message)
    return rest, rest.write_reply(SERVED, message, options, scores, []), scores


def test_a_reply_in_json_has_the_bits_of_the_scores_and_null_for_what_json_cannot_say():
    rest, data, scores = reply(id="a")
    found = json.loads(data)
    assert (rest.json_length, found["id"], found["model_name"], found["model_version"]) == (None, "a", "model", "3")
    outputs = {output["name"]: output for output in found["outputs"]}
    assert outputs["log_px"]["data"] == [scores.log_px[0], None, scores.log_px[2]]
    assert outputs["p_value"] == {"name": "p_value", "datatype": "FP64", "shape": [3], "data": scores.p_value.tolist()}
    assert outputs["is_anomaly"]["data"] == scores.is_anomaly.tolist()


def test_outputs_may_be_bytes_behind_the_json():
    wanted = [{"name": "is_anomaly", "parameters": {"binary_data": True}}, {"name": "elbo"}]
    rest, data, scores = reply(outputs=wanted)
    found = json.loads(data[: rest.json_length])
    assert [output["name"] for output in found["outputs"]] == ["is_anomaly", "elbo"]
    assert found["outputs"][0]["parameters"] == {"binary_data_size": 3}
    assert data[rest.json_length :] == scores.is_anomaly.tobytes()
    assert found["outputs"][1]["data"] == scores.elbo.tolist()


def test_the_options_are_those_of_grpc():
    rest, message = message_of(X, id="r", parameters={"num_samples": 64, "timeout": 2_000_000})
    options = rest.options(SERVED, message)
    assert (options.score.num_samples, options.timeout, rest.request_id(message)) == (64, 2.0, "r")
    rest, message = message_of(X, parameters={"num_samples": 63})
    with pytest.raises(CallError, match="expected 0 for the calibrated budget"):
        rest.options(SERVED, message)


def test_the_model_is_that_of_the_path():
    class Scoring:
        def check_serving(self):
            pass

        def model(self, *asked):
            return asked

    rest = RestFormat(LIMITS, ("other", "3"), None)
    message = rest.parse(json.dumps({"id": "7", "inputs": [X]}).encode())
    assert rest.pick(Scoring(), message) == ("other", "3", "7", "model_")


def test_the_schema_of_these_tests_has_the_names_of_the_data():
    assert SCHEMA.names == NAMES
