"""Which path is which kind of request."""

from http import HTTPStatus

import pytest

from anomaly_vae.service.pb import inference_pb2 as pb
from anomaly_vae.service.rest.errors import HttpError
from anomaly_vae.service.rest.routes import ROUTES, find


@pytest.mark.parametrize(
    ("method", "target", "template", "names"),
    [
        ("GET", "/v2", "/v2", {}),
        ("GET", "/v2/", "/v2", {}),
        ("HEAD", "/v2/health/live", "/v2/health/live", {}),
        ("GET", "/v2/models/fraud", "/v2/models/{model}", {"model": "fraud"}),
        ("GET", "/v2/models/stats", "/v2/models/stats", {}),
        (
            "POST",
            "/v2/models/f/versions/3/infer?x=1",
            "/v2/models/{model}/versions/{version}/infer",
            {"model": "f", "version": "3"},
        ),
        ("POST", "/v2/models/a%2Fb%20%C3%A9/infer", "/v2/models/{model}/infer", {"model": "a/b é"}),
        ("GET", "/v2/models/..", "/v2/models/{model}", {"model": ".."}),  # a name like any other: no file is opened
    ],
)
def test_a_path_has_a_route_and_names(method, target, template, names):
    found = find(method, target)
    assert (found.route.template, found.names) == (template, names)


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [
        ("GET", "/", HTTPStatus.NOT_FOUND),
        ("GET", "*", HTTPStatus.NOT_FOUND),
        ("GET", "/v1/models/fraud", HTTPStatus.NOT_FOUND),
        ("GET", "/v2/models//ready", HTTPStatus.NOT_FOUND),
        ("GET", "/v2/models/../../etc/passwd", HTTPStatus.NOT_FOUND),
        ("POST", "http://127.0.0.1/v2/models/fraud/infer", HTTPStatus.NOT_FOUND),
        ("GET", "/v2/models/fraud/infer", HTTPStatus.METHOD_NOT_ALLOWED),
        ("DELETE", "/v2", HTTPStatus.METHOD_NOT_ALLOWED),
        ("GET", "/v2/models/%ff", HTTPStatus.BAD_REQUEST),
        ("GET", "/v2/models/" + "a" * 5_000, HTTPStatus.REQUEST_URI_TOO_LONG),
    ],
)
def test_other_paths_and_methods_are_refused(method, target, status):
    with pytest.raises(HttpError) as caught:
        find(method, target)
    assert caught.value.status is status


def test_every_rpc_of_the_protocol_but_the_stream_has_a_path():
    rpcs = {method.name for method in pb.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods}
    assert rpcs - {"ModelStreamInfer"} <= {route.rpc for route in ROUTES}
