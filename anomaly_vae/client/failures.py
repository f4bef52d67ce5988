"""What a failed call says about the connection. gRPC has no codes for this, so the text of the status is read."""

from __future__ import annotations

import grpc

__all__ = ["explain_unconnected", "is_closed_early", "is_permanent", "is_unconnected", "lost_connection", "root_cause"]

# The texts of gRPC 1.85. tests/support/grpc_errors.py has the whole messages.
_UNTRUSTED, _WRONG_NAME, _PLAINTEXT = "CERTIFICATE_VERIFY_FAILED", "Hostname Verification", "WRONG_VERSION_NUMBER"
_HANDSHAKE_NOT_CREATED = "security handshaker"
_NOT_GRPC = "Failed parsing HTTP/2"
_CLOSED = "Socket closed"
# With gRPC 1.85 a call in progress when the service is killed ends as UNAVAILABLE: all 3,099 calls in 310 kills did.
# Earlier versions ended it as INTERNAL or UNKNOWN with these texts, and so do proxies whose service dies.
_LOST = ("RST_STREAM", "Stream removed", _CLOSED, "Connection reset", "Broken pipe")


def is_unconnected(code: grpc.StatusCode, details: str) -> bool:
    """Return True if the call failed because there was no connection, so that nothing was sent."""
    return code is grpc.StatusCode.UNAVAILABLE and ("failed to connect" in details or "resol" in details)


def lost_connection(code: grpc.StatusCode, details: str) -> bool:
    """Return True if the connection broke after the call was sent, under a code that usually means something else."""
    if code not in (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN):
        return False
    return any(text in details for text in _LOST)


def is_permanent(details: str) -> bool:
    """Return True if every attempt to connect would fail: wrong certificates, or TLS on one side only."""
    return any(text in details for text in (_UNTRUSTED, _WRONG_NAME, _PLAINTEXT, _HANDSHAKE_NOT_CREATED))


def is_closed_early(details: str) -> bool:
    """Return True if the connection was closed before gRPC exchanged anything.

    A service that is just being killed closes one connection this way. A service that speaks TLS, or requires a client
    certificate, or is not a gRPC service closes every connection this way.
    """
    return any(text in details for text in (_CLOSED, "Connection reset", "Tls handshake failed", _NOT_GRPC))


def root_cause(details: str) -> str:
    """Return the last cause in gRPC's chain of causes, such as "connection refused"."""
    last = details.rpartition(": ")[2].rstrip("]")
    return last[:1].lower() + last[1:]


def explain_unconnected(details: str, *, secure: bool) -> str:
    """Return why there is no connection, and what to do.

    Args:
        details: The text of the status.
        secure: Whether the client uses TLS.
    """
    if _UNTRUSTED in details:
        reason = details.partition(f"{_UNTRUSTED}: ")[2].partition(":")[0] or "unknown"
        return (
            f"the service's certificate is not trusted ({reason}); give the certificate of the authority that signed "
            "it, by Tls(ca=...) or --tls-ca"
        )
    if _WRONG_NAME in details:
        return (
            "the service's certificate is for another name; connect to a name that the certificate contains, or pass "
            "Tls(server_name=...) if you are sure that this is the right service"
        )
    if _PLAINTEXT in details:
        return "the service does not speak TLS; is this its port? For plaintext, use grpc://HOST:PORT"
    if _HANDSHAKE_NOT_CREATED in details:
        return "the certificates and the key given for TLS do not go together, or are damaged"
    if _NOT_GRPC in details:
        return "what answers there is no gRPC service; is this its port?"
    if _CLOSED in details and secure:
        return (
            "the service closed the connection: it may want a client certificate of an authority it trusts, by "
            "Tls(cert=..., key=...) or --tls-cert and --tls-key; or it is shutting down"
        )
    if _CLOSED in details:
        return (
            "the service closed the connection: it may speak TLS, grpcs://HOST:PORT; or it is shutting down, or it is "
            "not a gRPC service"
        )
    return (
        "no service answers there: it is not started (`anomaly-vae serve`), or shutting down, or the address is wrong "
        f"({root_cause(details)})"
    )
