"""What the texts of gRPC say about a connection, for the whole texts of gRPC 1.85."""

import grpc
import pytest

from anomaly_vae.client.failures import (
    explain_unconnected,
    is_closed_early,
    is_permanent,
    is_unconnected,
    lost_connection,
    root_cause,
)
from tests.support.grpc_errors import (
    CLOSED,
    DROPPED,
    HANDSHAKE,
    KILLED,
    MISNAMED,
    NO_NAME,
    NO_TLS,
    REFUSED,
    SHUTTING_DOWN,
    UNTRUSTED,
)

UNAVAILABLE, INTERNAL, UNKNOWN = grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN
BAD_KEY = "failed to connect to all addresses; last error: UNKNOWN: Failed to create security handshaker"
NOT_GRPC = "failed to connect to all addresses; last error: UNAVAILABLE: Failed parsing HTTP/2"


@pytest.mark.parametrize("text", [REFUSED, NO_NAME, DROPPED, UNTRUSTED, MISNAMED, NO_TLS, CLOSED, BAD_KEY])
def test_without_a_connection_nothing_was_sent(text):
    """Only then may a call be sent again without the risk that it is computed twice."""
    assert is_unconnected(UNAVAILABLE, text)
    assert not is_unconnected(INTERNAL, text)


@pytest.mark.parametrize("text", [KILLED, SHUTTING_DOWN, ""])
def test_a_call_that_reached_the_service_had_a_connection(text):
    assert not is_unconnected(UNAVAILABLE, text)


@pytest.mark.parametrize("code", [INTERNAL, UNKNOWN])
def test_a_connection_that_broke_is_known_by_its_text_under_two_codes_only(code):
    for text in (KILLED, "Received RST_STREAM with error code 2", "Connection reset by peer", "Broken pipe"):
        assert lost_connection(code, text)
        assert not lost_connection(grpc.StatusCode.INVALID_ARGUMENT, text)
    assert not lost_connection(code, "the service has a fault")


def test_certificates_and_plaintext_are_permanent_and_missing_services_are_not():
    """A client must not retry what fails each time, and must retry what a restart ends."""
    assert all(is_permanent(text) for text in (UNTRUSTED, MISNAMED, NO_TLS, BAD_KEY))
    assert not any(is_permanent(text) for text in (REFUSED, NO_NAME, DROPPED, CLOSED, KILLED, SHUTTING_DOWN))


def test_a_connection_that_was_closed_early_differs_from_one_that_was_not_made():
    assert all(is_closed_early(text) for text in (CLOSED, NOT_GRPC, HANDSHAKE))
    assert not any(is_closed_early(text) for text in (REFUSED, NO_NAME, DROPPED))


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        (REFUSED, "connection refused"),
        (NO_NAME, "domain name not found"),
        (DROPPED, "connect() timed out"),
        ("Socket closed", "socket closed"),
        ("", ""),
    ],
)
def test_the_root_cause_is_the_last_in_the_chain(text, cause):
    assert root_cause(text) == cause


@pytest.mark.parametrize(
    ("text", "secure", "explanation"),
    [
        (UNTRUSTED, True, "certificate is not trusted (unable to get local issuer certificate); give"),
        ("CERTIFICATE_VERIFY_FAILED", True, "certificate is not trusted (unknown); give"),
        (MISNAMED, True, "certificate is for another name"),
        (NO_TLS, True, "does not speak TLS; is this its port? For plaintext, use grpc://HOST:PORT"),
        (BAD_KEY, True, "the certificates and the key given for TLS do not go together"),
        (NOT_GRPC, False, "what answers there is no gRPC service"),
        (CLOSED, True, "it may want a client certificate"),
        (CLOSED, False, "it may speak TLS, grpcs://HOST:PORT"),
        (REFUSED, False, "no service answers there: it is not started (`anomaly-vae serve`)"),
        (NO_NAME, True, "(domain name not found)"),
    ],
)
def test_a_missing_connection_is_explained_with_what_to_do(text, secure, explanation):
    assert explanation in explain_unconnected(text, secure=secure)
