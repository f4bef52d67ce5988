"""What a running service answers on each path of the protocol."""

import json

import numpy as np
import pytest

import anomaly_vae
from anomaly_vae.service.rpc.inference_messages import OUTPUTS
from tests.support.rest import ask, infer, tensor_json
from tests.support.running import eventually, running

BINARY = {"parameters": {"binary_data_output": True}}


@pytest.fixture(scope="module")
def port(model_path):
    with running(model_path, "--http-port", 0) as service:
        yield service.http_port


def get(port, path):
    status, _, body = ask(port, "GET", path)
    return status, body


def test_the_server_says_what_it_is(port):
    status, body = get(port, "/v2")
    assert (status, body["name"], body["version"]) == (200, "anomaly_vae", anomaly_vae.__version__)
    assert body["extensions"] == [
        "model_configuration",
        "model_repository",
        "parameters",
        "statistics",
        "binary_tensor_data",
    ]


@pytest.mark.parametrize(
    ("path", "status", "body"),
    [
        ("/v2/health/live", 200, {"live": True}),
        ("/v2/health/ready", 200, {"ready": True}),
        ("/v2/models/model/ready", 200, {"name": "model", "ready": True}),
        ("/v2/models/model/versions/1/ready", 200, {"name": "model", "ready": True}),
        ("/v2/models/model/versions/2/ready", 404, {"name": "model", "ready": False}),
        ("/v2/models/other/ready", 404, {"name": "other", "ready": False}),
        ("/v2/models/other", 404, {"error": "'other' is not served here, 'model' is; send that", "field": "name"}),
        (
            "/v2/models/model/versions/2",
            404,
            {"error": "'2' is not served here, '1' of 'model' is; send that, or none", "field": "version"},
        ),
    ],
)
def test_health_and_models_that_are_not_there(port, path, status, body):
    assert get(port, path) == (status, body)


def test_the_model_is_described(port, scorer, new_rows):
    for path in ("/v2/models/model", "/v2/models/model/versions/1"):
        status, body = get(port, path)
        assert status == 200
        assert body["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, new_rows.shape[1]]}]
        assert [(output["name"], output["datatype"]) for output in body["outputs"]] == list(OUTPUTS.items())
        assert body["properties"]["threshold"] == repr(scorer.threshold)
    config = get(port, "/v2/models/model/config")[1]
    assert config["input"] == [{"name": "x", "data_type": "TYPE_FP32", "dims": [new_rows.shape[1]]}]


def test_the_repository_has_the_model(port):
    for body in (None, {}, {"ready": True}):
        assert ask(port, "POST", "/v2/repository/index", body)[2] == [
            {"name": "model", "version": "1", "state": "READY", "reason": ""}
        ]
    assert ask(port, "POST", "/v2/repository/index", b"[" * 10_000)[0] == 400


@pytest.mark.parametrize("nested", [True, False])
def test_rows_score_as_in_the_scorer_bit_for_bit(port, scorer, new_rows, nested):
    rows = new_rows.copy()
    rows[3, 1] = np.nan
    expected = scorer.score(rows)
    status, headers, body = infer(port, tensor_json(rows, nested=nested), id="order 66")
    assert (status, headers["Content-Type"], body["id"]) == (200, "application/json", "order 66")
    assert [output["name"] for output in body["outputs"]] == list(OUTPUTS)
    for output in body["outputs"]:
        values = getattr(expected, output["name"])
        assert np.array(output["data"], dtype=values.dtype).tobytes() == values.tobytes(), output["name"]


def test_rows_and_scores_may_travel_as_bytes(port, scorer, new_rows):
    tensor = {"name": "x", "datatype": "FP64", "shape": list(new_rows.shape)}
    head = json.dumps({"inputs": [tensor | {"parameters": {"binary_data_size": new_rows.nbytes}}]} | BINARY).encode()
    headers = {"Inference-Header-Content-Length": str(len(head))}
    body = head + new_rows.astype("<f8").tobytes()
    status, headers, reply = ask(port, "POST", "/v2/models/model/versions/1/infer", body, headers)
    assert (status, headers["Content-Type"]) == (200, "application/octet-stream")
    start = int(headers["Inference-Header-Content-Length"])
    expected = scorer.score(new_rows)
    for output in json.loads(reply[:start])["outputs"]:
        stop = start + output["parameters"]["binary_data_size"]
        assert reply[start:stop] == getattr(expected, output["name"]).tobytes(), output["name"]
        start = stop
    assert start == len(reply)


@pytest.mark.parametrize("length", ["-1", "a", "\u00b2".encode().decode("latin-1"), "9" * 30, "100000"])
def test_a_wrong_length_of_the_json_is_refused(port, length):
    status, _, body = ask(port, "POST", "/v2/models/model/infer", b"{}", {"Inference-Header-Content-Length": length})
    assert (status, body["field"]) == (400, "Inference-Header-Content-Length")


def test_columns_score_as_rows(port, scorer, new_rows):
    columns = [
        {"name": name, "datatype": "FP64", "shape": [len(new_rows)], "data": new_rows[:, d].tolist()}
        for d, name in enumerate(scorer.schema.names)
    ]
    body = infer(port, columns, outputs=[{"name": "log_px"}])[2]
    assert np.array(body["outputs"][0]["data"]).tobytes() == scorer.score(new_rows).log_px.tobytes()


def test_statistics_count_what_was_scored(port, new_rows):
    def count():
        return get(port, "/v2/models/model/stats")[1]["model_stats"][0]["inference_count"]

    before = count()
    infer(port, tensor_json(new_rows))
    eventually(lambda: count() == before + len(new_rows))
    assert get(port, "/v2/models/stats")[1]["model_stats"][0]["inference_count"] == before + len(new_rows)


def test_models_are_unloaded_and_loaded_by_callers_on_this_machine_and_not_by_pages(model_path):
    options = ("--http-port", 0, "--model-control", "explicit")
    load, unload = (f"/v2/repository/models/model/{verb}" for verb in ("load", "unload"))
    with running(model_path, *options) as service:
        port = service.http_port
        assert ask(port, "POST", unload, b"{}", {"Origin": "http://page.example"})[0] == 403
        assert ask(port, "POST", unload, b'{"parameters": {}}')[0] == 400
        assert ask(port, "GET", "/v2/models/model/ready")[0] == 200
        assert ask(port, "POST", unload)[2] == {"name": "model", "unload": True}
        assert ask(port, "GET", "/v2/models/model/ready")[0] != 200
        assert ask(port, "POST", load, b"{}")[2] == {"name": "model", "load": True}
        assert ask(port, "GET", "/v2/models/model/ready")[0] == 200


def test_a_service_that_looks_by_itself_takes_no_orders(port):
    status, _, body = ask(port, "POST", "/v2/repository/models/model/unload", b"{}")
    assert status == 400
    assert "--model-control explicit" in body["error"]
