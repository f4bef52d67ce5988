"""Errors and replies of HTTP, and what gRPC's status codes are in HTTP."""

from __future__ import annotations

import math
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import grpc
import msgspec

from anomaly_vae.service.call_errors import CallError

__all__ = ["HttpError", "Reply", "error_reply", "json_reply", "status_of"]

_STATUSES = {
    grpc.StatusCode.OK: HTTPStatus.OK,
    grpc.StatusCode.INVALID_ARGUMENT: HTTPStatus.BAD_REQUEST,
    grpc.StatusCode.OUT_OF_RANGE: HTTPStatus.BAD_REQUEST,
    grpc.StatusCode.FAILED_PRECONDITION: HTTPStatus.BAD_REQUEST,
    grpc.StatusCode.UNAUTHENTICATED: HTTPStatus.UNAUTHORIZED,
    grpc.StatusCode.PERMISSION_DENIED: HTTPStatus.FORBIDDEN,
    grpc.StatusCode.NOT_FOUND: HTTPStatus.NOT_FOUND,
    grpc.StatusCode.ALREADY_EXISTS: HTTPStatus.CONFLICT,
    grpc.StatusCode.ABORTED: HTTPStatus.CONFLICT,
    grpc.StatusCode.RESOURCE_EXHAUSTED: HTTPStatus.TOO_MANY_REQUESTS,
    grpc.StatusCode.UNIMPLEMENTED: HTTPStatus.NOT_IMPLEMENTED,
    grpc.StatusCode.UNAVAILABLE: HTTPStatus.SERVICE_UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED: HTTPStatus.GATEWAY_TIMEOUT,
}
_RETRIED = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)
_RETRY_AFTER = 1.0  # seconds, for errors that name no time; the least that the header can say

JSON = ("Content-Type", "application/json")


@dataclass(frozen=True, slots=True)
class Reply:
    """A reply without the headers that frame it.

    Attributes:
        status: The status.
        body: The bytes of the body.
        headers: The other headers.
        code: The same outcome for the log and the spans.
    """

    status: HTTPStatus
    body: bytes
    headers: tuple[tuple[str, str], ...] = (JSON,)
    code: grpc.StatusCode = grpc.StatusCode.OK


class HttpError(CallError):
    """A request is refused with a status that no status code of gRPC stands for.

    Attributes:
        status: The status.
        headers: Headers of the reply that belong to it.
    """

    def __init__(self, status: HTTPStatus, text: str, *headers: tuple[str, str], field: str | None = None) -> None:
        code = grpc.StatusCode.NOT_FOUND if status is HTTPStatus.NOT_FOUND else grpc.StatusCode.INVALID_ARGUMENT
        super().__init__(code, text, field=field)
        self.status = status
        self.headers = headers


def status_of(code: grpc.StatusCode) -> HTTPStatus:
    """Return the HTTP status for a status code of gRPC; 500 for those that are faults of the service."""
    return _STATUSES.get(code, HTTPStatus.INTERNAL_SERVER_ERROR)


def json_reply(value: Any, status: HTTPStatus = HTTPStatus.OK) -> Reply:
    """Return a reply with a JSON body."""
    return Reply(status, msgspec.json.encode(value))


def error_reply(error: CallError) -> Reply:
    """Return the reply for an error: ``{"error": TEXT}``, with ``field`` and ``retry_after`` (seconds) if known."""
    status = error.status if isinstance(error, HttpError) else status_of(error.code)
    body: dict[str, Any] = {"error": error.text}
    headers = [JSON, *(error.headers if isinstance(error, HttpError) else ())]
    if error.field is not None:
        body["field"] = error.field
    if error.retry_after is not None:
        body["retry_after"] = round(error.retry_after, 3)
    if status in _RETRIED:
        seconds = _RETRY_AFTER if error.retry_after is None else error.retry_after
        headers.append(("Retry-After", str(max(1, math.ceil(seconds)))))  # HTTP has whole seconds only
    if status is HTTPStatus.UNAUTHORIZED:
        headers.append(("WWW-Authenticate", "Bearer"))
    return Reply(status, msgspec.json.encode(body), tuple(headers), error.code)
