"""The path of every request for scores: read -> reserve room -> make rows -> score -> explain -> write the reply.

Both services, and their streams, take this path. What differs between them is a :class:`MessageFormat`.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Generic, ParamSpec, Protocol, TypeVar

import grpc
import numpy as np

from anomaly_vae.arrays import FloatArray
from anomaly_vae.score_options import ScoreOptions
from anomaly_vae.scores import Flags, Scores
from anomaly_vae.service.call_errors import CallError, internal, invalid
from anomaly_vae.service.queue.admission import Reservation
from anomaly_vae.service.queue.jobs import explain_key
from anomaly_vae.service.queue.scoring_queue import Computed
from anomaly_vae.service.rpc.ordered_stream import Interrupted, in_order
from anomaly_vae.service.scoring import Scoring
from anomaly_vae.service.served import Explanations, Served
from anomaly_vae.service.telemetry.records import current_call
from anomaly_vae.service.telemetry.totals import RequestTotals

__all__ = ["MessageFormat", "RequestOptions", "RequestPath"]

# Bytes of a request above which reading it would block the event loop for too long. Chosen, not measured: a thread has
# a cost of its own, which small requests should not pay.
_LARGE_REQUEST = 2**18
# Rows of a reply above which writing it would block the event loop for too long. Chosen in the same way.
_LARGE_REPLY = 2_048
# Columns to name in all rows of a request together: each takes about 0.7 KiB (measured), so these take 50 MB. Chosen.
_MOST_NAMED = 2**16

Message = TypeVar("Message")
Result = TypeVar("Result")
Arguments = ParamSpec("Arguments")
ErrorWriter = Callable[[bytes, CallError], bytes]


@dataclass(frozen=True)
class RequestOptions:
    """The options of a request.

    Attributes:
        score: What to compute.
        timeout: Seconds that the request may take; None if only the call's deadline limits it.
        outputs: Names of the outputs to return, in order. Only the Open Inference Protocol has a choice.
        explain: Columns to name of each row that is explained; 0 for no explanations.
        explain_all: Whether every row is explained, not only those that are flagged.
    """

    score: ScoreOptions
    timeout: float | None = None
    outputs: tuple[str, ...] = ()
    explain: int = 0
    explain_all: bool = False


class MessageFormat(Protocol[Message]):
    """The messages of one service. Methods raise :class:`CallError` if the request is wrong."""

    def parse(self, data: bytes) -> Message:
        """Parse a request."""
        ...

    def request_id(self, message: Message) -> str:
        """Return the caller's name for the request."""
        ...

    def pick(self, scoring: Scoring, message: Message) -> Served:
        """Return the model that the request asks for."""
        ...

    def count_rows(self, served: Served, message: Message) -> int:
        """Return the number of rows that the request claims; 0 if the claim does not fit its bytes.

        If :meth:`make_rows` returns rows, they are as many.
        """
        ...

    def options(self, served: Served, message: Message) -> RequestOptions:
        """Return the checked options."""
        ...

    def make_rows(self, served: Served, message: Message) -> FloatArray:
        """Return the checked rows, (N, D)."""
        ...

    def write_reply(
        self,
        served: Served,
        message: Message,
        options: RequestOptions,
        scores: Scores | Flags,
        explanations: Explanations,
    ) -> bytes:
        """Return the reply's bytes. There are no explanations if none was requested, otherwise one for each row."""
        ...


class RequestPath(Generic[Message]):
    """Answers requests in one message format."""

    def __init__(self, scoring: Scoring, message_format: MessageFormat[Message]) -> None:
        """Score with the shared queue and model."""
        self._scoring = scoring
        self._metrics = scoring.metrics
        self._format = message_format

    async def answer(self, data: bytes, expires: float, *, wait_for_room: bool = False) -> bytes:
        """Return the reply to a request: all rows are scored, or the request is refused.

        Args:
            data: The request.
            expires: The call's deadline, seconds on the clock of ``time.monotonic``.
            wait_for_room: If the queue is full: True waits for room, False refuses the request.

        Raises:
            CallError: The request is wrong, or cannot be scored now.
        """
        start, now = time.perf_counter(), time.monotonic()
        self._scoring.check_serving()
        is_large = len(data) > _LARGE_REQUEST
        message = await _run(is_large, self._format.parse, data)
        served = self._pick(message)
        with self._metrics.models.requests(served.key).timed(start) as totals:
            num_rows, options = await _run(is_large, self._read, served, message)
            times_out = math.inf if options.timeout is None else now + options.timeout
            reserved = min(num_rows, self._scoring.config.max_rows)  # more than max_rows are refused as invalid, below
            with self._scoring.reservation(served, options.score, reserved) as reservation:
                if options.explain_all:
                    reservation.then = explain_key(reservation.key, options.explain)
                if not wait_for_room:  # refuse before the rows are made: that takes more time and memory
                    reservation.take(min(expires, times_out))
                rows = await _run(is_large, self._make_rows, served, message, num_rows)
                decoded = time.perf_counter()
                scored = await self._score(reservation, rows, expires, times_out)
                check = not (wait_for_room or options.explain_all)
                explanations = await self._explain(reservation, rows, scored.result, options, expires, check=check)
            encoding = time.perf_counter()
            is_large = num_rows > _LARGE_REPLY
            reply = await _run(
                is_large, self._format.write_reply, served, message, options, scored.result, explanations
            )
            self._book(totals, (start, decoded), scored, (encoding, time.perf_counter()))
            shadow = self._scoring.shadow_of(served, current_call().request_id)
            if shadow is not None:
                self._scoring.shadows.add(shadow, scored.result, lambda other: self._format.make_rows(other, message))
            return reply

    async def answer_stream(
        self, requests: AsyncIterator[bytes], expires: float, write_error: ErrorWriter | None = None
    ) -> AsyncIterator[bytes]:
        """Answer requests in order. When the queue is full, wait for room and stop reading the stream.

        Args:
            requests: The requests.
            expires: The call's deadline, seconds on the clock of ``time.monotonic``.
            write_error: Writes the reply to a request that fails. Without it, the first failure ends the stream.

        Raises:
            CallError: A request failed without ``write_error``, or the service drains.
        """

        async def answer(data: bytes) -> bytes:
            if write_error is None:
                return await self.answer(data, expires, wait_for_room=True)
            return await self._answer_or_error(data, expires, write_error)

        try:
            async for reply in in_order(requests, answer, self._scoring.drained):
                yield reply
        except Interrupted:
            self._scoring.check_serving()  # raises the reason

    async def _answer_or_error(self, data: bytes, expires: float, write_error: ErrorWriter) -> bytes:
        """Return the reply or the written error. Raise UNAVAILABLE: it concerns the stream, not the request."""
        try:
            return await self.answer(data, expires, wait_for_room=True)
        except CallError as raised:
            if raised.code is grpc.StatusCode.UNAVAILABLE:
                raise
            error = raised
        except Exception as raised:  # noqa: BLE001 (an error of the service itself, whatever it is)
            current_call().set_error(raised)
            error = internal()
        self._metrics.count_stream_error(error.code)
        return write_error(data, error)

    def _pick(self, message: Message) -> Served:
        """Return the model for a request, and note it in the call's record."""
        call = current_call()
        call.request_id = self._format.request_id(message)
        served = self._format.pick(self._scoring, message)
        call.model_name, call.model_version = served.key
        return served

    def _read(self, served: Served, message: Message) -> tuple[int, RequestOptions]:
        """Return the request's claimed number of rows and its options. Everything but the rows is checked."""
        num_rows = 0
        try:
            num_rows = self._format.count_rows(served, message)
            current_call().rows += num_rows
            options = self._format.options(served, message)
            if options.explain_all:
                _check_named(num_rows, options)
            return num_rows, options
        except CallError:
            self._metrics.models.count_invalid(served.key, num_rows)
            raise

    def _make_rows(self, served: Served, message: Message, num_rows: int) -> FloatArray:
        try:
            return self._format.make_rows(served, message)
        except CallError:
            self._metrics.models.count_invalid(served.key, num_rows)
            raise

    async def _score(
        self, reservation: Reservation, rows: FloatArray, expires: float, times_out: float
    ) -> Computed[Scores | Flags]:
        """Score the rows before the request's own timeout. gRPC enforces the call's deadline, but not this one."""
        if times_out == math.inf:
            return await self._scoring.score(reservation, rows, expires)
        try:
            async with asyncio.timeout(times_out - time.monotonic()):
                return await self._scoring.score(reservation, rows, min(expires, times_out))
        except TimeoutError as error:
            text = "the request's timeout passed before the rows were scored"
            raise CallError(grpc.StatusCode.DEADLINE_EXCEEDED, text) from error

    async def _explain(
        self,
        reservation: Reservation,
        rows: FloatArray,
        scores: Scores | Flags,
        options: RequestOptions,
        expires: float,
        *,
        check: bool,
    ) -> Explanations:
        """Explain the flagged rows, or all; an entry for each row, empty where it is not explained."""
        if not options.explain:
            return []
        explained: Explanations = [[] for _ in range(len(rows))]
        is_chosen = None if options.explain_all else scores.is_anomaly
        chosen = np.arange(len(rows)) if is_chosen is None else np.flatnonzero(is_chosen)
        if len(chosen):
            _check_named(len(chosen), options)
            done = await self._scoring.explain(reservation, rows[chosen], options.explain, expires, check=check)
            for row, whys in zip(chosen.tolist(), done.result, strict=True):
                explained[row] = whys
            self._metrics.stage("explain").observe_one(done.seconds_computed)
            current_call().add_stage("explain", done.begun, done.ended)
        return explained

    def _book(
        self,
        totals: RequestTotals,
        decode: tuple[float, float],
        scored: Computed[Scores | Flags],
        encode: tuple[float, float],
    ) -> None:
        """Add the stages of an answered request to the metrics, the model's totals and the call's record."""
        queue, infer = (scored.queued, scored.begun), (scored.begun, scored.ended)
        call = current_call()
        for stage, (start, end) in (("decode", decode), ("queue", queue), ("infer", infer), ("encode", encode)):
            # A batch's time is divided among its requests, so that the sum over requests is the threads' time.
            seconds = scored.seconds_computed if stage == "infer" else end - start
            self._metrics.stage(stage).observe_one(seconds)
            if stage in totals.stages:
                totals.stages[stage].observe_one(seconds)
            call.add_stage(stage, start, end)
        totals.computing.observe_one(scored.ended - scored.begun)


def _check_named(num_rows: int, options: RequestOptions) -> None:
    """Raise INVALID_ARGUMENT if the explanations of so many rows would take too much memory."""
    if num_rows * options.explain > _MOST_NAMED:
        raise invalid(
            "explain",
            f"asks for {options.explain} columns of {num_rows:,} rows each; all rows of a request together may have "
            f"{_MOST_NAMED:,}: ask for fewer columns, or send fewer rows at a time",
        )


async def _run(
    in_thread: bool, function: Callable[Arguments, Result], *args: Arguments.args, **kwargs: Arguments.kwargs
) -> Result:
    """Call a function, in a thread if it would block the event loop for too long."""
    return await asyncio.to_thread(function, *args, **kwargs) if in_thread else function(*args, **kwargs)
