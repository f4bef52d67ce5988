"""The calls of the blocking client, which hold up their thread: nothing here ever suspends."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Coroutine, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any, TypeVar

import grpc

from anomaly_vae.client.calls import Line
from anomaly_vae.client.connection import Connection
from anomaly_vae.client.session import Transport
from anomaly_vae.errors import ServiceError
from anomaly_vae.service.pb.scoring_pb2_grpc import ScoringServiceStub

__all__ = ["Channel", "finish"]

# So that the service has the next part at hand when it is done with one.
_PARTS_AT_A_TIME = 2

Found = TypeVar("Found")


class Channel(Transport):
    """A channel that may be closed while its calls are under way."""

    def __init__(self, connection: Connection) -> None:
        """Connect lazily."""
        self._target = connection.target
        self._metadata = connection.metadata
        self._channel = (
            grpc.insecure_channel(self._target.address, connection.options)
            if connection.credentials is None
            else grpc.secure_channel(self._target.address, connection.credentials, connection.options)
        )
        self._stub = ScoringServiceStub(self._channel)  # type: ignore[no-untyped-call]
        self._closed = threading.Event()
        self._together: set[_Calls] = set()

    async def send(self, method: str, request: object, timeout: float | None, *, wait_for_ready: bool = False) -> Any:
        """The reply to one call, as for :class:`Line`; ServiceError once the channel is closed."""
        with self.while_open():
            return self.method(method)(request, timeout=timeout, metadata=self._metadata, wait_for_ready=wait_for_ready)

    async def sleep(self, seconds: float) -> None:
        """Wait, or until the channel is closed."""
        self._closed.wait(seconds)

    async def together(self, asks: Iterable[Callable[[Line], Coroutine[Any, Any, Found]]]) -> list[Found]:
        """What several things that are asked find, two at a time."""
        asks = list(asks)
        if len(asks) == 1:
            return [await asks[0](self)]
        calls, found = _Calls(self, self._metadata), dict[int, Found]()
        waiting, lock = iter(enumerate(asks)), threading.Lock()

        def work() -> None:
            while True:
                with lock:
                    i, ask = next(waiting, (-1, None))
                if ask is None:
                    return
                found[i] = finish(ask(calls))

        self._together.add(calls)
        with ThreadPoolExecutor(_PARTS_AT_A_TIME, thread_name_prefix="anomaly-vae-client") as pool:
            try:
                for worker in as_completed([pool.submit(work) for _ in range(_PARTS_AT_A_TIME)]):
                    worker.result()
            finally:  # also at Ctrl-C: the pool waits for its threads
                calls.cancel()
                self._together.discard(calls)
        return [found[i] for i in range(len(asks))]

    def method(self, name: str) -> Any:
        """A method of the service by its name."""
        return getattr(self._stub, name)

    @contextlib.contextmanager
    def while_open(self) -> Iterator[None]:
        """Raise ServiceError if the client is closed, before or meanwhile."""
        self._check_open()
        try:
            yield
        except (ValueError, grpc.FutureCancelledError, grpc.RpcError):  # gRPC's words for it, as the moment has it
            self._check_open()
            raise

    def _check_open(self) -> None:
        if self._closed.is_set():
            raise ServiceError(f"{self._target.address}: the client is closed; make another", code="CANCELLED")

    def close(self) -> None:
        """Close; calls under way fail."""
        self._closed.set()
        self._channel.close()
        for calls in tuple(self._together):
            calls.cancel()


class _Calls(Line):
    """Calls of one question, in several threads, that end when one of them has failed."""

    def __init__(self, channel: Channel, metadata: tuple[tuple[str, str], ...]) -> None:
        self._channel = channel
        self._metadata = metadata
        self._lock = threading.Lock()
        self._cancelled = threading.Event()
        self._under_way: set[Any] = set()

    async def send(self, method: str, request: object, timeout: float | None, *, wait_for_ready: bool = False) -> Any:
        with self._channel.while_open():
            with self._lock:
                if self._cancelled.is_set():
                    raise grpc.FutureCancelledError
                call = self._channel.method(method).future(
                    request, timeout=timeout, metadata=self._metadata, wait_for_ready=wait_for_ready
                )
                self._under_way.add(call)
            try:
                return call.result()
            finally:
                with self._lock:
                    self._under_way.discard(call)

    async def sleep(self, seconds: float) -> None:
        self._cancelled.wait(seconds)

    def cancel(self) -> None:
        with self._lock:
            self._cancelled.set()
            under_way = list(self._under_way)
        for call in under_way:
            call.cancel()


def finish(coroutine: Coroutine[Any, Any, Found]) -> Found:
    """What a coroutine over a channel that never suspends returns: it runs to its end at the first step."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        found: Found = end.value
        return found
    finally:
        coroutine.close()
    raise RuntimeError("a blocking transport suspended")
