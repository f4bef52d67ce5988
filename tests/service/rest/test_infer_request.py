"""JSON, and bytes behind it, to a request: everything but the values is checked."""

import json

import numpy as np
import pytest

from anomaly_vae.service.call_errors import CallError
from anomaly_vae.service.rest.infer_request import parse_request

X = {"name": "x", "datatype": "FP64", "shape": [1, 2], "data": [1.0, 2.0]}
RAW = {"name": "x", "datatype": "FP64", "shape": [1, 2], "parameters": {"binary_data_size": 16}}
BYTES = np.array([1.0, 2.0], "<f8").tobytes()


def parse(request, behind=b"", length=None):
    text = request if isinstance(request, bytes) else json.dumps(request).encode()
    return parse_request(text + behind, len(text) if behind and length is None else length, ("model", ""), 8)


def fault(request, behind=b"", length=None):
    with pytest.raises(CallError) as caught:
        parse(request, behind, length)
    return caught.value.field, caught.value.text


def test_a_request_has_what_one_over_grpc_has():
    request = parse({
        "id": "order 66",
        "parameters": {"num_samples": 64, "timeout": 2**40, "binary_data_output": True, "a": 1.5, "b": "text"},
        "inputs": [X],
        "outputs": [{"name": "elbo"}, {"name": "log_px", "parameters": {"binary_data": False}}],
    })  # fmt: skip
    head = request.head
    assert (head.model_name, head.model_version, head.id) == ("model", "", "order 66")
    assert head.parameters["num_samples"].int64_param == 64
    assert head.parameters["binary_data_output"].bool_param is True
    assert (head.parameters["a"].double_param, head.parameters["b"].string_param) == (1.5, "text")
    assert [output.name for output in head.outputs] == ["elbo", "log_px"]
    assert request.binary == {"elbo"}
    assert request.inputs[0].json == b"[1.0, 2.0]"


def test_values_may_follow_the_json_as_bytes():
    request = parse({"inputs": [RAW, {**RAW, "name": "y"}]}, BYTES + BYTES[::-1])
    assert [tensor.binary for tensor in request.inputs] == [BYTES, BYTES[::-1]]


def test_all_outputs_are_bytes_if_the_request_says_so_and_none_otherwise():
    assert parse({"inputs": [X], "parameters": {"binary_data_output": True}}).binary is None
    assert parse({"inputs": [X]}).binary == frozenset()


def test_of_a_key_given_twice_the_last_value_counts():
    twice = json.dumps({"inputs": [X]})[:-1].encode() + b', "id": "a", "id": "b"}'
    assert parse(twice).head.id == "b"


@pytest.mark.parametrize(
    ("request_", "field", "text"),
    [
        (b"", "body", "is no JSON in UTF-8"),
        (b"{", "body", "is no JSON in UTF-8"),
        (b'{"inputs":[{"name":"x\xff"}]}', "body", "is no JSON in UTF-8"),
        (b'{"inputs":[{"name":"x","datatype":"FP64","shape":[1,1],"data":[NaN]}]}', "body", "invalid character"),
        (b'{"inputs":[{"name":"x","datatype":"FP64","shape":[1,1],"data":[-Infinity]}]}', "body", "invalid character"),
        (b'{"inputs":' + b"[" * 100_000, "inputs[0]", "expected `object`, got `array`"),
        (b'{"inputs":[{"name":"x","data":' + b"[" * 100_000, "body", "nested too deeply"),
        (b'{"unknown":' + b'{"a":' * 100_000, "body", "nested too deeply"),
        (b"[]", "body", "expected `object`, got `array`"),
        ({}, "body", "object missing required field `inputs`"),
        ({"inputs": []}, "inputs", "has none"),
        ({"inputs": [X] * 9}, "inputs", "has 9 entries, a request may have 8"),
        ({"inputs": [X], "outputs": [{"name": "elbo"}] * 65}, "outputs", "has 65 entries"),
        ({"inputs": [{**X, "shape": "[1, 2]"}]}, "inputs[0].shape", "expected `array`, got `str`"),
        ({"inputs": [{**X, "shape": [1, 2.5]}]}, "inputs[0].shape[1]", "expected `int`, got `float`"),
        ({"inputs": [{**X, "shape": [1] * 9}]}, "inputs[0].shape", "has 9 dimensions"),
        ({"inputs": [{**X, "data": None}]}, "inputs[0].data", "must be given"),
        ({"inputs": [{**X, "parameters": {"binary_data_size": 0}}]}, "inputs[0].data", "must be given"),
        ({"inputs": [RAW]}, "inputs[0].parameters.binary_data_size", "is '16', 0 bytes are left"),
        ({"inputs": [{**RAW, "parameters": {"binary_data_size": -1}}]}, "inputs[0].parameters.binary_data_size", "-1"),
        ({"inputs": [{**RAW, "parameters": {"binary_data_size": True}}]}, "inputs[0].parameters.binary_data_size", ""),
        ({"inputs": [{**X, "parameters": {"shared_memory_region": "a"}}]}, "inputs[0].parameters", "is not offered"),
        ({"inputs": [X], "parameters": {"a": 2**63}}, "parameters", "'a' is a number or text"),
        ({"inputs": [X], "parameters": {"a": [1]}}, "parameters[...]", "expected `bool | int | float | str`"),
        ({"inputs": [X], "id": "a" * 129}, "id", "must have at most 128 printable characters"),
        ({"inputs": [X], "id": "a\nb"}, "id", "must have at most 128 printable characters"),
    ],
)
def test_a_malformed_request_is_refused_with_its_field(request_, field, text):
    found = fault(request_)
    assert found[0] == field
    assert text in found[1]


def test_bytes_that_nothing_claims_are_refused():
    assert fault({"inputs": [X]}, BYTES) == ("body", "has 16 bytes behind the JSON that no binary_data_size claims")
    assert fault({"inputs": [RAW]}, BYTES, length=10_000)[0] == "Inference-Header-Content-Length"
