"""One call with retries: sent again until it is answered, fails for good, or its timeout passes."""

from __future__ import annotations

import logging
import math
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import grpc

from anomaly_vae.client.connection import ConnectionSettings
from anomaly_vae.client.failures import is_closed_early, is_unconnected, root_cause
from anomaly_vae.client.replies import requested_delay_s, to_error
from anomaly_vae.client.retries import backoff_s, is_retryable
from anomaly_vae.errors import ServiceError
from anomaly_vae.service.pb import scoring_pb2 as pb

__all__ = ["Caller", "Sender"]

_LOG = logging.getLogger("anomaly_vae.client")

# Seconds of failures before a warning is logged. A restart takes 0.5 s and needs no warning.
_SECONDS_UNTIL_WARNING = 2.0
# Seconds in which a service that never answered may close every connection. gRPC makes a new one every 1.2 s or less.
_SECONDS_OF_CLOSING = 3.0
# Seconds to wait for a connection before the call is sent again. A waiting call gets no reason for a failed connection;
# a call that is sent gets it.
_SECONDS_TO_CONNECT = 1.0
# With less time left than this, seconds, no call is sent: a reply takes milliseconds.
_MIN_SECONDS_LEFT = 0.02


class Sender(Protocol):
    """Sends single calls and waits."""

    async def send(self, method: str, request: object, timeout: float | None, *, wait_for_ready: bool = False) -> Any:
        """Send one call and return its reply.

        Args:
            method, request: What to send.
            timeout: Seconds; None for no limit.
            wait_for_ready: Wait for a connection, instead of failing as soon as one cannot be made.

        Raises:
            grpc.RpcError: The call failed.
        """
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        ...


@dataclass(kw_only=True)
class _CallState:
    """The state of one call between its attempts. Times are on the clock of :class:`Caller`.

    Attributes:
        start: When the call was first sent.
        deadline: When its timeout passes.
        first_answer_deadline: When it ends if the service never answered any call of this client.
        retries: How often it may be sent again; None for no limit.
        attempts: How often it was sent.
        failing_since: When it first failed.
        closing_since: Since when every connection was closed early; None if the last failure was another.
        unconnected: The last failure, if there was no connection since then.
    """

    start: float
    deadline: float
    first_answer_deadline: float
    retries: int | None
    attempts: int = 0
    failing_since: float = math.inf
    closing_since: float | None = None
    unconnected: grpc.RpcError | None = None

    def add_failure(self, failure: grpc.RpcError, now: float) -> None:
        """Record a failed attempt."""
        code, details = failure.code(), failure.details() or ""
        self.failing_since = min(self.failing_since, now)
        if code is grpc.StatusCode.DEADLINE_EXCEEDED:  # says nothing about the connection
            return
        self.unconnected = failure if is_unconnected(code, details) else None
        if self.unconnected is None or not is_closed_early(details):
            self.closing_since = None
        elif self.closing_since is None:
            self.closing_since = now


class Caller:
    """Sends the calls of one client, with retries.

    Attributes:
        now: The clock, seconds.
        draw: Returns random numbers in [0, 1).
    """

    def __init__(self, settings: ConnectionSettings) -> None:
        """Prepare; nothing is sent yet."""
        self.now: Callable[[], float] = time.monotonic
        self.draw: Callable[[], float] = random.SystemRandom().random
        self._settings = settings
        self._was_answered = False
        self._has_warned = False

    async def call(
        self,
        sender: Sender,
        method: str,
        request: object,
        timeout: float | None,
        retries: int | None,
        first_answer: float | None = None,
    ) -> Any:
        """Return the reply to a call. A failed call is sent again while it may still succeed in time.

        Args:
            sender: Sends the attempts.
            method, request: What to send.
            timeout: Seconds for all attempts together; None for no limit.
            retries: How often the call is sent again at most; None for no limit.
            first_answer: Seconds for all attempts if the service never answered any call; None for the timeout.

        Raises:
            InvalidInput, ServiceError: The last attempt failed.
        """
        start = self.now()
        deadline, first = (start + (math.inf if seconds is None else seconds) for seconds in (timeout, first_answer))
        state = _CallState(start=start, deadline=deadline, first_answer_deadline=first, retries=retries)
        while True:
            state.attempts += 1
            try:
                reply = await sender.send(method, request, self._timeout(state))
            except grpc.RpcError as error:
                failure = error
            else:
                self._was_answered, self._has_warned = True, False
                return reply
            await sender.sleep(self._wait_s(failure, state))
            if state.unconnected is not None:
                await self._wait_for_connection(sender, state)
            if self._deadline(state) - self.now() < _MIN_SECONDS_LEFT:
                raise self._error(failure, state) from failure

    def _wait_s(self, failure: grpc.RpcError, state: _CallState) -> float:
        """Return the seconds until the next attempt; raise the error of the call if there is no next attempt."""
        code, details, now = failure.code(), failure.details() or "", self.now()
        requested_s = requested_delay_s(failure)
        state.add_failure(failure, now)
        if state.unconnected is None and code is not grpc.StatusCode.DEADLINE_EXCEEDED:
            self._was_answered = True
        wait_s = backoff_s(code, requested_s, state.attempts, self.draw)
        left_s = self._deadline(state) - now
        is_last = state.retries is not None and state.attempts > state.retries
        is_late = left_s < _MIN_SECONDS_LEFT or (requested_s or 0.0) >= left_s
        if wait_s is None or is_last or is_late or not is_retryable(code, details, requested_s):
            raise self._error(failure, state) from failure
        if code is not grpc.StatusCode.RESOURCE_EXHAUSTED and now - state.failing_since >= _SECONDS_UNTIL_WARNING:
            self._warn(details, left_s, is_connected=state.unconnected is None)
        return max(requested_s or 0.0, min(wait_s, left_s / 2))  # half of the time is left for the next attempt

    async def _wait_for_connection(self, sender: Sender, state: _CallState) -> None:
        """Wait up to 1 s for a connection, by a small call that is sent as soon as there is one.

        The call itself cannot wait like this: with a limit of 1 s it would be cut off while it is scored, and without
        a limit it would never get the reason if the service returns with a wrong certificate.
        """
        seconds = min(_SECONDS_TO_CONNECT, max(self._deadline(state) - self.now(), 0.0))
        try:
            settings = self._settings
            request = pb.GetModelRequest(model_name=settings.model_name, model_version=settings.model_version)
            await sender.send("GetModel", request, seconds, wait_for_ready=True)
        except grpc.RpcError as error:
            code, details = error.code(), error.details() or ""
            if code is grpc.StatusCode.DEADLINE_EXCEEDED or is_unconnected(code, details):
                return
        self._was_answered, state.unconnected = True, None

    def _error(self, failure: grpc.RpcError, state: _CallState) -> Exception:
        """Return the error for the caller. If the time passed without a connection, it says why there was none."""
        if failure.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
            if state.unconnected is not None:
                return to_error(state.unconnected, self._settings)
            if not self._was_answered:
                address, seconds = self._settings.target.address, self.now() - state.start
                text = f"{address}: no service answers there: nothing came in {seconds:.2g} s; is it the right address?"
                return ServiceError(text, code=grpc.StatusCode.UNAVAILABLE.name)
        return to_error(failure, self._settings)

    def _deadline(self, state: _CallState) -> float:
        """Return the time at which a call ends."""
        if self._was_answered:
            return state.deadline
        closing = math.inf if state.closing_since is None else state.closing_since + _SECONDS_OF_CLOSING
        return min(state.deadline, state.first_answer_deadline, closing)

    def _timeout(self, state: _CallState) -> float | None:
        """Return the seconds left until :meth:`_deadline`; None for no limit."""
        left_s = self._deadline(state) - self.now()
        return None if left_s == math.inf else max(left_s, 0.0)

    def _warn(self, details: str, left_s: float, *, is_connected: bool) -> None:
        """Log why no reply comes, once per outage; not if the call ends within 2 s, since its error says the same."""
        if self._has_warned or left_s < _SECONDS_UNTIL_WARNING:
            return
        self._has_warned = True
        address = self._settings.target.address
        what = f"cannot answer ({details})" if is_connected else f"does not answer ({root_cause(details)})"
        _LOG.warning("%s %s; trying again%s", address, what, "" if left_s == math.inf else f" for up to {left_s:.0f} s")
