"""A failed call of gRPC without a connection, and the texts that gRPC 1.85 gives for failures."""

import grpc
from google.protobuf.any_pb2 import Any
from google.rpc.status_pb2 import Status

REFUSED = (
    "failed to connect to all addresses; last error: UNKNOWN: ipv4:127.0.0.1:9: Failed to connect to remote host: "
    "Connection refused"
)
NO_NAME = (
    "errors resolving no.such.host:1: [field:hostname lookup error:address lookup failed for no.such.host:1: Domain "
    "name not found]"
)
DROPPED = (
    "failed to connect to all addresses; last error: UNKNOWN: ipv4:10.0.0.1:9: Failed to connect to remote host: "
    "connect() timed out"
)
HANDSHAKE = "failed to connect to all addresses; last error: UNKNOWN: ipv4:127.0.0.1:9: Tls handshake failed "
UNTRUSTED = (
    f"{HANDSHAKE}(TSI_PROTOCOL_FAILURE): SSL_ERROR_SSL: error:1000007d:SSL routines:OPENSSL_internal:"
    "CERTIFICATE_VERIFY_FAILED: unable to get local issuer certificate: OK"
)
MISNAMED = (
    "failed to connect to all addresses; last error: UNKNOWN: ipv4:127.0.0.1:9: Custom verification check failed with "
    "error: UNAUTHENTICATED: Hostname Verification Check failed."
)
NO_TLS = (
    f"{HANDSHAKE}(TSI_PROTOCOL_FAILURE): SSL_ERROR_SSL: error:100000f7:SSL routines:OPENSSL_internal:"
    "WRONG_VERSION_NUMBER: Invalid certificate verification context: OK"
)
CLOSED = "failed to connect to all addresses; last error: UNAVAILABLE: ipv4:127.0.0.1:9: Socket closed"
KILLED = "Stream removed (Socket closed)"
SHUTTING_DOWN = "the server is shutting down; connect again"


class FailedCall(grpc.RpcError):
    """A call that failed with a status, a text and the details of google.rpc.Status."""

    def __init__(self, code, text, *details, trailing=None):
        packed = []
        for detail in details:
            packed.append(Any())
            packed[-1].Pack(detail)
        status = Status(code=code.value[0], message=text, details=packed)
        self._code, self._text = code, text
        self._trailing = (("grpc-status-details-bin", status.SerializeToString()),) if packed else ()
        self._trailing = self._trailing if trailing is None else trailing

    def code(self):
        return self._code

    def details(self):
        return self._text

    def trailing_metadata(self):
        return self._trailing
