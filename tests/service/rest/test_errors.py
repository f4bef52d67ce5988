"""The replies to requests that fail."""

import json
from http import HTTPStatus

import grpc
import pytest

from anomaly_vae.service.call_errors import CallError, internal, invalid
from anomaly_vae.service.rest.errors import HttpError, error_reply, status_of


def test_an_error_names_its_field():
    reply = error_reply(invalid("inputs[0].shape", "is wrong"))
    assert (reply.status, reply.code) == (HTTPStatus.BAD_REQUEST, grpc.StatusCode.INVALID_ARGUMENT)
    assert json.loads(reply.body) == {"error": "is wrong", "field": "inputs[0].shape"}


@pytest.mark.parametrize(("seconds", "header"), [(0.05, "1"), (1.0, "1"), (1.2, "2"), (30.0, "30")])
def test_a_refusal_says_when_to_try_again_exactly_in_the_body_and_rounded_up_in_the_header(seconds, header):
    reply = error_reply(CallError(grpc.StatusCode.RESOURCE_EXHAUSTED, "full", retry_after=seconds))
    assert reply.status is HTTPStatus.TOO_MANY_REQUESTS
    assert dict(reply.headers)["Retry-After"] == header
    assert json.loads(reply.body)["retry_after"] == seconds


def test_a_service_that_is_away_says_when_to_try_again_too():
    reply = error_reply(CallError(grpc.StatusCode.UNAVAILABLE, "draining"))
    assert (reply.status, dict(reply.headers)["Retry-After"]) == (HTTPStatus.SERVICE_UNAVAILABLE, "1")


def test_a_missing_token_gets_the_scheme_to_use():
    reply = error_reply(CallError(grpc.StatusCode.UNAUTHENTICATED, "no token"))
    assert (reply.status, dict(reply.headers)["WWW-Authenticate"]) == (HTTPStatus.UNAUTHORIZED, "Bearer")


def test_a_fault_of_the_service_says_nothing_of_itself():
    reply = error_reply(internal())
    assert reply.status is HTTPStatus.INTERNAL_SERVER_ERROR
    assert json.loads(reply.body) == {"error": "internal error; the server's log says where"}


def test_an_error_of_http_keeps_its_status_and_headers():
    reply = error_reply(HttpError(HTTPStatus.METHOD_NOT_ALLOWED, "use GET", ("Allow", "GET")))
    assert (reply.status, dict(reply.headers)["Allow"]) == (HTTPStatus.METHOD_NOT_ALLOWED, "GET")


def test_every_status_code_has_a_status():
    assert {status_of(code) for code in (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN)} == {500}
    assert status_of(grpc.StatusCode.DEADLINE_EXCEEDED) == 504
    assert status_of(grpc.StatusCode.NOT_FOUND) == 404
