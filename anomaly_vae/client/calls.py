"""One call: sent again where that may help, until it is answered or its time is over."""

from __future__ import annotations

import logging
import math
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import grpc

from anomaly_vae.client.connection import Connection
from anomaly_vae.client.failures import cause, is_closed_early, is_unconnected
from anomaly_vae.client.replies import explained, retry_delay
from anomaly_vae.client.retries import may_pass, seconds_to_wait
from anomaly_vae.errors import ServiceError
from anomaly_vae.service.pb import scoring_pb2 as pb

__all__ = ["Caller", "Line"]

_LOG = logging.getLogger("anomaly_vae.client")

# A failure that lasts longer is told: the service starts in 0.5 s, and a person begins to wonder.
_SECONDS_UNTIL_TOLD = 2.0
# So long, a service that was never heard may close every connection: gRPC tries a new one at least every 1.2 s.
_SECONDS_OF_CLOSING = 3.0
# A call that waits for a connection does not hear why there is none; one that is sent after so long does.
_SECONDS_TO_CONNECT = 1.0
# With less time left, no call is sent: a reply takes milliseconds.
_LEAST_SECONDS = 0.02


class Line(Protocol):
    """How a call is made and time passes."""

    async def send(self, method: str, request: object, timeout: float | None, *, wait_for_ready: bool = False) -> Any:
        """The reply to one call; grpc.RpcError if it fails.

        Without a connection, it fails as soon as one cannot be made, or with ``wait_for_ready`` goes out once it can.
        """
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        ...


@dataclass(kw_only=True)
class _Course:
    """What one call has met so far; times on the clock of its caller.

    Attributes:
        began: When it was first sent.
        until: When its time is over.
        heard_until: When it is over if nothing at all has answered there.
        retries: How often it may be sent again; None for as often as there is time.
        tries: How often it was sent.
        failing_since: When it first failed.
        closing_since: Since when every connection was closed early; None if the last failure was another.
        unconnected: The last failure, if there was no connection since.
    """

    began: float
    until: float
    heard_until: float
    retries: int | None
    tries: int = 0
    failing_since: float = math.inf
    closing_since: float | None = None
    unconnected: grpc.RpcError | None = None

    def note(self, error: grpc.RpcError, now: float) -> None:
        """Take down a failure."""
        code, details = error.code(), error.details() or ""
        self.failing_since = min(self.failing_since, now)
        if code is grpc.StatusCode.DEADLINE_EXCEEDED:  # which tells nothing about the connection
            return
        self.unconnected = error if is_unconnected(code, details) else None
        if self.unconnected is None or not is_closed_early(details):
            self.closing_since = None
        elif self.closing_since is None:
            self.closing_since = now


class Caller:
    """Sends the calls of one client.

    Attributes:
        now: The clock, seconds.
        draw: Random numbers in [0, 1).
    """

    def __init__(self, connection: Connection) -> None:
        """Nothing is sent yet."""
        self.now: Callable[[], float] = time.monotonic
        self.draw: Callable[[], float] = random.SystemRandom().random
        self._connection = connection
        self._was_heard = False
        self._has_told = False

    async def call(
        self,
        line: Line,
        method: str,
        request: object,
        timeout: float | None,
        retries: int | None,
        first_answer: float | None = None,
    ) -> Any:
        """The reply to a call, sent again where that may help while there is time.

        Args:
            line: How it is sent.
            method, request: What is sent.
            timeout: Seconds that it may take in all; None for ever.
            retries: How often it is sent again at most; None for as often as there is time.
            first_answer: Seconds that it may take if nothing has ever answered there; None for the timeout.

        Raises:
            InvalidInput, ServiceError: The last failure, explained.
        """
        began = self.now()
        until, heard_until = (began + (math.inf if seconds is None else seconds) for seconds in (timeout, first_answer))
        course = _Course(began=began, until=until, heard_until=heard_until, retries=retries)
        while True:
            course.tries += 1
            try:
                reply = await line.send(method, request, self._left(course))
            except grpc.RpcError as error:
                failure = error
            else:
                self._was_heard, self._has_told = True, False
                return reply
            await line.sleep(self._seconds_to_wait(failure, course))
            if course.unconnected is not None:
                await self._connect(line, course)
            if self._until(course) - self.now() < _LEAST_SECONDS:
                raise self._error(failure, course) from failure

    def _seconds_to_wait(self, failure: grpc.RpcError, course: _Course) -> float:
        """Seconds until the call is sent again; raises what the caller gets if it is not."""
        code, details, retry_after, now = failure.code(), failure.details() or "", retry_delay(failure), self.now()
        course.note(failure, now)
        if course.unconnected is None and code is not grpc.StatusCode.DEADLINE_EXCEEDED:
            self._was_heard = True
        wait = seconds_to_wait(code, retry_after, course.tries, self.draw)
        left = self._until(course) - now
        is_last = course.retries is not None and course.tries > course.retries
        is_late = left < _LEAST_SECONDS or (retry_after or 0.0) >= left
        if wait is None or is_last or is_late or not may_pass(code, details, retry_after):
            raise self._error(failure, course) from failure
        if code is not grpc.StatusCode.RESOURCE_EXHAUSTED and now - course.failing_since >= _SECONDS_UNTIL_TOLD:
            self._tell(details, left, is_there=course.unconnected is None)
        return max(retry_after or 0.0, min(wait, left / 2))  # so that a last try is left

    async def _connect(self, line: Line, course: _Course) -> None:
        """Wait a moment for a connection, by a small call that goes out as soon as there is one.

        The call itself does not wait so: bounded, it would be cut off while it is scored, and unbounded, it would never
        hear that the service has come back with another certificate.
        """
        seconds = min(_SECONDS_TO_CONNECT, max(self._until(course) - self.now(), 0.0))
        try:
            await line.send("GetModel", pb.GetModelRequest(), seconds, wait_for_ready=True)
        except grpc.RpcError as error:
            code, details = error.code(), error.details() or ""
            if code is grpc.StatusCode.DEADLINE_EXCEEDED or is_unconnected(code, details):
                return
        self._was_heard, course.unconnected = True, None

    def _error(self, failure: grpc.RpcError, course: _Course) -> Exception:
        """What the caller gets: of a call whose time was over before there was a connection, why there was none."""
        if failure.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
            if course.unconnected is not None:
                return explained(course.unconnected, self._connection)
            if not self._was_heard:
                where, seconds = self._connection.target.address, self.now() - course.began
                text = f"{where}: no service answers there: nothing came in {seconds:.2g} s; is it the right address?"
                return ServiceError(text, code=grpc.StatusCode.UNAVAILABLE.name)
        return explained(failure, self._connection)

    def _until(self, course: _Course) -> float:
        """When the time of a call is over."""
        if self._was_heard:
            return course.until
        closing = math.inf if course.closing_since is None else course.closing_since + _SECONDS_OF_CLOSING
        return min(course.until, course.heard_until, closing)

    def _left(self, course: _Course) -> float | None:
        """Seconds until then, as gRPC takes them."""
        left = self._until(course) - self.now()
        return None if left == math.inf else max(left, 0.0)

    def _tell(self, details: str, left: float, *, is_there: bool) -> None:
        """Log why nothing comes, once until something does; not if the error itself comes soon."""
        if self._has_told or left < _SECONDS_UNTIL_TOLD:
            return
        self._has_told = True
        where = self._connection.target.address
        what = f"cannot answer ({details})" if is_there else f"does not answer ({cause(details)})"
        _LOG.warning("%s %s; trying again%s", where, what, "" if left == math.inf else f" for up to {left:.0f} s")
