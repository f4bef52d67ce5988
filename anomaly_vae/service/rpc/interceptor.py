"""What happens around every call: its message is parsed, it is counted and logged, and errors become statuses."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Container, Coroutine
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from anomaly_vae.service.call_errors import CallError, abort, internal, invalid
from anomaly_vae.service.rpc.arrivals import Arrivals
from anomaly_vae.service.rpc.health import HEALTH
from anomaly_vae.service.rpc.idle_watch import IdleWatch
from anomaly_vae.service.rpc.open_calls import Context, OpenCalls
from anomaly_vae.service.telemetry.metrics import Labels, Metrics
from anomaly_vae.service.telemetry.observer import Observer
from anomaly_vae.service.telemetry.records import current_call

__all__ = ["CallInterceptor", "is_expired"]

# The most bytes of a message that is parsed here: of health checks, reflection and questions about the model. A name in
# them has at most a few hundred bytes. Chosen, not measured.
_MOST_BYTES = 4_096

# A call that was cancelled with less than this time left has expired: seconds, and part of its timeout. The caller's
# clock starts before the server's, by the time that the request takes to arrive. Chosen, not measured.
_EXPIRED_SECONDS, _EXPIRED_PART = 0.05, 0.1

Parser = Callable[[bytes], Any]
Refuse = Callable[[str, Any], CallError | None]


class CallInterceptor(grpc.aio.ServerInterceptor):  # type: ignore[misc]
    """Wraps the handlers of all services.

    A handler raises :class:`CallError`; any other exception becomes INTERNAL, without its text. A message that cannot
    be parsed becomes INVALID_ARGUMENT.
    """

    def __init__(
        self,
        calls: OpenCalls,
        arrivals: Arrivals,
        metrics: Metrics,
        refuse: Refuse,
        finite_streams: Container[str],
        observer: Observer,
    ) -> None:
        """Wrap nothing yet.

        Args:
            calls: The calls in progress.
            arrivals: The calls without a message. Its time limits the pauses of streams, too.
            metrics: Where calls are counted.
            refuse: Given a method and the call's metadata, returns why it is refused before its message is read.
            finite_streams: Methods whose streams end by themselves once the service drains.
            observer: Logs and traces calls.
        """
        self._calls = calls
        self._arrivals = arrivals
        self._metrics = metrics
        self._refuse = refuse
        self._finite_streams = finite_streams
        self._observer = observer
        self._handlers: dict[str, grpc.RpcMethodHandler] = {}
        self._timed: dict[str, grpc.RpcMethodHandler] = {}  # of unary methods, whose messages have a time limit
        self._kinds: dict[str, str] = {}

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler | None:
        """Return a method's wrapped handler; None for an unknown method, which is UNIMPLEMENTED and not counted."""
        method = handler_call_details.method
        if method not in self._handlers:
            handler = await continuation(handler_call_details)
            if handler is None:
                return None
            streams = handler.request_streaming or handler.response_streaming
            self._kinds[method] = _kind(handler)
            self._handlers[method] = (self._wrap_stream if streams else self._wrap_unary)(method, handler)
        error = self._refuse(method, handler_call_details.invocation_metadata)
        if error is not None:
            return self._refusal(method, error)
        if method in self._timed and not self._arrivals.may_wait():
            return self._timed[method]
        return self._handlers[method]

    def _refusal(self, method: str, error: CallError) -> grpc.RpcMethodHandler:
        """Return a handler that ends a call without reading: a handler of streams, which need not be read."""
        labels = _labels(self._kinds[method], method)

        async def answer(_requests: Any, context: Context) -> None:
            await self._counted(labels, context, _raise(error))

        return grpc.stream_stream_rpc_method_handler(answer)

    def _wrap_unary(self, method: str, handler: grpc.RpcMethodHandler) -> grpc.RpcMethodHandler:
        labels = _labels(_kind(handler), method)
        parse: Parser | None = handler.request_deserializer
        serialise: Callable[[Any], bytes] = handler.response_serializer or _unchanged

        async def reply_to(data: bytes, context: Context) -> bytes:
            return serialise(await handler.unary_unary(_parsed(parse, data), context))

        is_probe = method.startswith(f"/{HEALTH}/")

        async def answer(data: bytes, context: Context) -> Any:
            self._arrivals.has_arrived()
            error = self._calls.admit(context, always=is_probe)
            if error is not None:
                return await self._counted(labels, context, _raise(error))
            reply = await self._counted(labels, context, reply_to(data, context))
            self._calls.mark_replied(context)
            return reply

        async def answer_in_time(_requests: Any, context: Context) -> None:
            await context.write(await answer(await self._message(labels, context), context))

        self._timed[method] = grpc.stream_stream_rpc_method_handler(answer_in_time)
        return grpc.unary_unary_rpc_method_handler(answer)

    def _wrap_stream(self, method: str, handler: grpc.RpcMethodHandler) -> grpc.RpcMethodHandler:
        parse: Parser | None = handler.request_deserializer
        labels = _labels(_kind(handler), method)
        work = self._stream_of_requests if handler.request_streaming else self._stream_of_one_request
        behaviour = handler.stream_stream if handler.request_streaming else handler.unary_stream

        async def answer(requests: Any, context: Context) -> None:
            if not handler.request_streaming:
                requests = await self._message(labels, context)
            error = self._calls.admit(context) if method in self._finite_streams else None
            if error is not None:
                await self._counted(labels, context, _raise(error))
            with self._calls.as_stream():
                await self._counted(labels, context, self._until_ended(work(behaviour, parse, requests, context)))

        return grpc.stream_stream_rpc_method_handler(answer, response_serializer=handler.response_serializer)

    async def _until_ended(self, work: Coroutine[Any, Any, None]) -> None:
        """Do the work of a stream until the service ends."""
        ended = CallError(grpc.StatusCode.UNAVAILABLE, "the server is shutting down; connect again")
        if self._calls.is_ending:
            work.close()
            raise ended
        try:
            await work
        except asyncio.CancelledError:
            if self._calls.is_ending:
                raise ended from None
            raise

    async def _message(self, labels: Labels, context: Context) -> bytes:
        """Return the only message of a call. Until it arrives the call is not counted, and its connection is idle."""
        try:
            return await self._arrivals.read(context)
        except CallError as error:
            await self._counted(labels, context, _raise(error))
            raise

    async def _stream_of_one_request(self, behaviour: Any, parse: Parser | None, data: bytes, context: Context) -> None:
        """Send the replies to one request, which may pause for any time, as those of a health watch do."""
        await behaviour(_parsed(parse, data), context)

    async def _stream_of_requests(
        self, behaviour: Any, parse: Parser | None, requests: AsyncIterator[bytes], context: Context
    ) -> None:
        """Send the replies to requests, one to each, while the client keeps sending and reading."""
        with IdleWatch(self._arrivals.seconds, asyncio.get_running_loop()) as watch:
            try:
                async for reply in behaviour(_parsed_one_by_one(parse, watch.read(requests)), context):
                    await watch.write(context, reply)
            except asyncio.CancelledError:
                if not watch.has_expired:
                    raise
                text = f"no request came and no reply was read for {self._arrivals.seconds:g} s; open another stream"
                raise CallError(grpc.StatusCode.ABORTED, text) from None

    async def _counted(self, labels: Labels, context: Context, work: Awaitable[Any]) -> Any:
        """Do the work of a call; count, log and trace it, and end it with a status if it fails."""
        start, allowed = time.perf_counter(), context.time_remaining()
        self._metrics.call(labels).started.inc()
        record = self._observer.begin(*labels, context)
        code = grpc.StatusCode.OK
        try:
            with self._calls.from_peer(context.peer()):
                return await _or_abort(context, work)
        except grpc.aio.AbortError:
            code = context.code()
            raise
        except (asyncio.CancelledError, grpc.aio.InternalError):  # the caller has gone; the latter while sending
            late = is_expired(context.time_remaining(), allowed)
            code = grpc.StatusCode.DEADLINE_EXCEEDED if late else grpc.StatusCode.CANCELLED
            raise asyncio.CancelledError from None
        finally:
            seconds = time.perf_counter() - start
            self._metrics.count_call(labels, code, seconds)
            self._observer.end(record, code, seconds, context)


def is_expired(remaining: float | None, allowed: float | None) -> bool:
    """Return whether a cancelled call has reached its deadline, rather than been cancelled by its caller.

    Args:
        remaining: Seconds left when it was cancelled, by the server's clock; None without a deadline.
        allowed: Seconds left when it arrived.
    """
    if remaining is None or allowed is None:
        return False
    return remaining <= max(_EXPIRED_SECONDS, _EXPIRED_PART * allowed)


async def _raise(error: CallError) -> None:
    raise error


async def _or_abort(context: Context, work: Awaitable[Any]) -> Any:
    try:
        return await work
    except (grpc.aio.AbortError, grpc.aio.InternalError):
        raise
    except CallError as error:
        await abort(context, error)
    except Exception as error:  # noqa: BLE001 (an error of the service itself, whatever it is)
        current_call().set_error(error)
        await abort(context, internal())


def _kind(handler: grpc.RpcMethodHandler) -> str:
    """Return the kind of a method, as the go-grpc metrics spell it."""
    if handler.request_streaming:
        return "bidi_stream"
    return "server_stream" if handler.response_streaming else "unary"


def _labels(kind: str, method: str) -> Labels:
    _, service, name = method.split("/")
    return kind, service, name


def _unchanged(data: bytes) -> bytes:
    return data


def _parsed(parse: Parser | None, data: bytes) -> Any:
    """Return a small message, or the bytes if the handler parses them itself."""
    if parse is None:
        return data
    if len(data) > _MOST_BYTES:
        raise invalid("request", f"has {len(data)} bytes, this method accepts at most {_MOST_BYTES}")
    try:
        return parse(data)
    except DecodeError as error:
        raise invalid("request", "the message cannot be parsed; is it built from this service's .proto?") from error


async def _parsed_one_by_one(parse: Parser | None, messages: AsyncIterator[bytes]) -> AsyncIterator[Any]:
    async for data in messages:
        yield _parsed(parse, data)
