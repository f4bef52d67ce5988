"""Around every call: parsing, counting, and the one place where faults become statuses."""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Container, Hashable
from functools import partial
from typing import Any, TypeAlias

import grpc
from google.protobuf.message import DecodeError

from anomaly_vae.service.faults import Fault, abort, internal, invalid
from anomaly_vae.service.health import HEALTH
from anomaly_vae.service.metrics import Labels, Metrics
from anomaly_vae.service.observer import Observer
from anomaly_vae.service.records import caller_of, current_call
from anomaly_vae.service.room import Room

__all__ = ["Calls", "is_expired"]

_MOST_BYTES = 4_096
_SECONDS_TO_CALL_AGAIN = 0.1

Context: TypeAlias = grpc.aio.ServicerContext
Parser = Callable[[bytes], Any]
Gate = Callable[[str, Any], Fault | None]


class Calls(grpc.aio.ServerInterceptor):  # type: ignore[misc]
    """Wraps the handlers of all services.

    A handler raises :class:`Fault`, or anything else for INTERNAL, whose text says nothing. Messages that cannot be
    parsed are INVALID_ARGUMENT. Calls that end by themselves are known until they are answered; streams that might last
    for ever can be told to end.
    """

    def __init__(self, metrics: Metrics, refuse: Gate, ending: Container[str], observer: Observer, most: int) -> None:
        """Start with no call.

        Args:
            metrics: Where calls are counted.
            refuse: Why a call of a method with such metadata is refused before its message is read, or None.
            ending: Methods whose streams end by themselves once the service drains: they are waited for.
            observer: Who is told of every call.
            most: Calls under way, shared among callers.
        """
        self._metrics = metrics
        self._refuse = refuse
        self._observer = observer
        self._ends = ending
        self._handlers: dict[str, grpc.RpcMethodHandler] = {}
        self._kinds: dict[str, str] = {}
        self._room = Room(most, "calls are under way")
        self._peers: Counter[str] = Counter()
        self._unread: dict[Context, tuple[asyncio.Task[Any] | None, float]] = {}
        self._all_answered = asyncio.Event()
        self._all_answered.set()
        self._streams: set[asyncio.Task[Any] | None] = set()
        self._ending = False

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler | None:
        """The wrapped handler of a method; None for an unknown one, which is UNIMPLEMENTED and not counted."""
        method = handler_call_details.method
        if method not in self._handlers:
            handler = await continuation(handler_call_details)
            if handler is None:
                return None
            streams = handler.request_streaming or handler.response_streaming
            self._kinds[method] = _kind(handler)
            self._handlers[method] = (self._wrap_stream if streams else self._wrap_unary)(method, handler)
        fault = self._refuse(method, handler_call_details.invocation_metadata)
        return self._handlers[method] if fault is None else self._refusal(method, fault)

    def _refusal(self, method: str, fault: Fault) -> grpc.RpcMethodHandler:
        """A handler that ends the call without reading: as a stream of requests, which it leaves alone."""
        labels = _labels(self._kinds[method], method)

        async def answer(_requests: Any, context: Context) -> None:
            await self._counted(labels, context, _failing(fault))

        return grpc.stream_stream_rpc_method_handler(answer)

    @property
    def unfinished(self) -> int:
        """Calls that are not answered yet, but for streams that might last for ever."""
        return self._room.total

    @property
    def peers(self) -> Collection[str]:
        """The connections with a call under way, of whatever kind, as gRPC names them."""
        return self._peers.keys()

    def too_many(self, caller: Hashable = None) -> Fault | None:
        """Why there can be no further call, of this caller if one is named, or None if there can."""
        text = self._room.refusal(caller, 1)
        if text is None:
            return None
        self._metrics.rejected.labels("queue_full").inc()
        return Fault(grpc.StatusCode.RESOURCE_EXHAUSTED, text, retry_after=_SECONDS_TO_CALL_AGAIN)

    async def wait_until_answered(self) -> None:
        """Wait until none of those is left."""
        await self._all_answered.wait()

    async def hang_up_on_the_deaf(self, seconds: float) -> None:
        """For ever, cancel calls whose reply is not taken within so long: each holds a place that others could have."""
        while True:
            await asyncio.sleep(seconds / 4)
            oldest = time.monotonic() - seconds
            for task, since in list(self._unread.values()):
                if task and since < oldest:
                    task.cancel()

    def end_streams(self) -> None:
        """End the calls that would stream for ever, with UNAVAILABLE."""
        self._ending = True
        for task in self._streams:
            if task:
                task.cancel()

    def _wrap_unary(self, method: str, handler: grpc.RpcMethodHandler) -> grpc.RpcMethodHandler:
        labels = _labels(_kind(handler), method)
        parse: Parser | None = handler.request_deserializer
        serialise: Callable[[Any], bytes] = handler.response_serializer or _as_it_is

        async def reply_to(data: bytes, context: Context) -> bytes:
            return serialise(await handler.unary_unary(_parsed(parse, data), context))

        is_probe = method.startswith(f"/{HEALTH}/")

        async def answer(data: bytes, context: Context) -> Any:
            fault = self._await(context, always=is_probe)
            if fault is not None:
                return await self._counted(labels, context, _failing(fault))
            reply = await self._counted(labels, context, reply_to(data, context))
            if context in self._unread:  # else the caller has gone, and nobody would take it out again
                self._unread[context] = asyncio.current_task(), time.monotonic()
            return reply

        return grpc.unary_unary_rpc_method_handler(answer)

    def _wrap_stream(self, method: str, handler: grpc.RpcMethodHandler) -> grpc.RpcMethodHandler:
        parse: Parser | None = handler.request_deserializer
        labels = _labels(_kind(handler), method)
        if handler.request_streaming:
            behaviour, make = handler.stream_stream, grpc.stream_stream_rpc_method_handler
            read: Callable[[Parser | None, Any], Any] = _parsed_one_by_one
        else:
            behaviour, make = handler.unary_stream, grpc.unary_stream_rpc_method_handler
            read = _parsed

        async def answer(request: Any, context: Context) -> None:
            fault = self._await(context) if method in self._ends else None
            if fault is not None:
                await self._counted(labels, context, _failing(fault))
            task = asyncio.current_task()
            self._streams.add(task)
            try:
                await self._counted(labels, context, self._stream(behaviour, read, parse, request, context))
            finally:
                self._streams.discard(task)

        return make(answer, response_serializer=handler.response_serializer)

    async def _stream(self, behaviour: Any, read: Any, parse: Parser | None, request: Any, context: Context) -> None:
        ended = Fault(grpc.StatusCode.UNAVAILABLE, "the server is shutting down; connect again")
        if self._ending:
            raise ended
        try:
            replies = behaviour(read(parse, request), context)
            if hasattr(replies, "__aiter__"):
                async for reply in replies:
                    await context.write(reply)
            else:
                await replies
        except asyncio.CancelledError:
            if self._ending:
                raise ended from None
            raise

    async def _counted(self, labels: Labels, context: Context, work: Awaitable[Any]) -> Any:
        start, allowed = time.perf_counter(), context.time_remaining()
        self._metrics.call(labels).started.inc()
        record = self._observer.begin(*labels, context)
        code, peer = grpc.StatusCode.OK, context.peer()
        self._peers[peer] += 1
        try:
            return await _or_abort(context, work)
        except grpc.aio.AbortError:
            code = context.code()
            raise
        except (asyncio.CancelledError, grpc.aio.InternalError):  # the caller is gone; the latter found out in sending
            late = is_expired(context.time_remaining(), allowed)
            code = grpc.StatusCode.DEADLINE_EXCEEDED if late else grpc.StatusCode.CANCELLED
            raise asyncio.CancelledError from None
        finally:
            self._peers[peer] -= 1
            if not self._peers[peer]:
                del self._peers[peer]
            seconds = time.perf_counter() - start
            self._metrics.count_call(labels, code, seconds)
            self._observer.end(record, code, seconds, context)

    def _await(self, context: Context, *, always: bool = False) -> Fault | None:
        """Count a call until it is answered, or say why it is one too many, unless it is to be answered always."""
        caller = caller_of(context)
        fault = None if always else self.too_many(caller)
        if fault is None:
            self._room.take(caller, 1)
            self._unread[context] = None, math.inf
            self._all_answered.clear()
            context.add_done_callback(partial(self._forget, caller))
        return fault

    def _forget(self, caller: str, context: Context) -> None:
        self._unread.pop(context, None)
        self._room.give_back(caller, 1)
        if not self._room.total:
            self._all_answered.set()


def is_expired(remaining: float | None, allowed: float | None) -> bool:
    """Whether a call that was hung up on has reached its deadline, seconds.

    The caller hangs up by its own clock, which starts before ours by the time the request takes to get here.
    """
    return remaining is not None and allowed is not None and remaining <= max(0.05, 0.1 * allowed)


async def _failing(fault: Fault) -> None:
    raise fault


async def _or_abort(context: Context, work: Awaitable[Any]) -> Any:
    try:
        return await work
    except (grpc.aio.AbortError, grpc.aio.InternalError):
        raise
    except Fault as fault:
        await abort(context, fault)
    except Exception as error:  # noqa: BLE001 (a fault of ours, whatever it is)
        current_call().blame(error)
        await abort(context, internal())


def _kind(handler: grpc.RpcMethodHandler) -> str:
    """The kind of a method, as the go-grpc metrics spell it."""
    if handler.request_streaming:
        return "bidi_stream"
    return "server_stream" if handler.response_streaming else "unary"


def _labels(kind: str, method: str) -> Labels:
    _, service, name = method.split("/")
    return kind, service, name


def _as_it_is(data: bytes) -> bytes:
    return data


def _parsed(parse: Parser | None, data: bytes) -> Any:
    """A small message, or the bytes themselves where the handler parses them."""
    if parse is None:
        return data
    if len(data) > _MOST_BYTES:
        raise invalid("request", f"has {len(data)} bytes, at most {_MOST_BYTES} are needed here")
    try:
        return parse(data)
    except DecodeError as error:
        raise invalid("request", "the message cannot be parsed; is it built from this service's .proto?") from error


async def _parsed_one_by_one(parse: Parser | None, messages: AsyncIterator[bytes]) -> AsyncIterator[Any]:
    async for data in messages:
        yield _parsed(parse, data)
