"""What decides on a call before its message is read."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import grpc

from anomaly_vae.service.access.tokens import Tokens
from anomaly_vae.service.call_errors import CallError
from anomaly_vae.service.callers import NO_TOKEN, Caller, Priority
from anomaly_vae.service.telemetry.metrics import Metrics
from anomaly_vae.service.telemetry.records import set_caller

__all__ = ["PRIORITY", "Gate", "Metadata"]

_UNAUTHENTICATED = (
    'send the metadata "authorization: Bearer TOKEN", once, with a valid token of this service; '
    "its operator makes one with `anomaly-vae token NAME`"
)

PRIORITY = "x-priority"  # metadata by which a caller lowers its priority: "x-priority: batch"

Metadata = Sequence[tuple[str, str | bytes]]


class Gate:
    """Lets calls in, over gRPC and over HTTP. A call needs a valid token if there is a token file."""

    def __init__(
        self,
        tokens: Tokens | None,
        metrics: Metrics,
        too_many: Callable[[], CallError | None],
        always: tuple[str, ...] = (),
    ) -> None:
        """Take what decides.

        Args:
            tokens: The valid tokens; None to let everybody in.
            metrics: Where refusals are counted.
            too_many: Returns and counts a refusal if there may be no further call.
            always: Beginnings of the methods that are never refused.
        """
        self._tokens, self._metrics = tokens, metrics
        self._too_many = too_many
        self._always = always

    def refuse(self, method: str, metadata: Metadata) -> CallError | None:
        """Return why a call is refused, or None. Set who calls, for the record that the current task begins next.

        Args:
            method: Of gRPC ``/SERVICE/METHOD``, of HTTP the path.
            metadata: The names, in small letters, and values of the metadata, or of the headers.
        """
        set_caller(NO_TOKEN)  # a task may have had another request before
        if method.startswith(self._always):
            return None
        caller: Caller | None = NO_TOKEN if self._tokens is None else self._tokens.caller_of(metadata)
        if caller is None:
            self._metrics.reject("unauthenticated")
            return CallError(grpc.StatusCode.UNAUTHENTICATED, _UNAUTHENTICATED)
        set_caller(_lowered(caller, metadata))
        return self._too_many()


def _lowered(caller: Caller, metadata: Metadata) -> Caller:
    """Return the caller with batch priority if the metadata say so. They cannot raise it; other values mean nothing."""
    if caller.priority is Priority.ONLINE and (PRIORITY, Priority.BATCH.value) in metadata:
        return dataclasses.replace(caller, priority=Priority.BATCH)
    return caller
