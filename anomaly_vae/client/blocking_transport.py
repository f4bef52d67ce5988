"""Sends the calls of the blocking client. Its methods block their thread and never suspend."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Coroutine, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any, TypeVar

import grpc

from anomaly_vae.client.calls import Sender
from anomaly_vae.client.connection import ConnectionSettings
from anomaly_vae.client.session import Transport
from anomaly_vae.errors import ServiceError
from anomaly_vae.service.pb.scoring_pb2_grpc import ScoringServiceStub

__all__ = ["BlockingTransport", "run_blocking"]

# Calls in parallel, so that the service has the next part of the rows ready when it finishes one. Two calls keep the
# service busy, so more would not be faster.
_PARALLEL_CALLS = 2

Result = TypeVar("Result")


class BlockingTransport(Transport):
    """A gRPC channel that may be closed while calls are in progress."""

    def __init__(self, settings: ConnectionSettings) -> None:
        """Prepare a channel; it connects when the first call is sent."""
        self._target = settings.target
        self._metadata = settings.metadata
        self._channel = (
            grpc.insecure_channel(self._target.address, settings.options)
            if settings.credentials is None
            else grpc.secure_channel(self._target.address, settings.credentials, settings.options)
        )
        self._stub = ScoringServiceStub(self._channel)  # type: ignore[no-untyped-call]
        self._closed = threading.Event()
        self._groups: set[_CallGroup] = set()

    async def send(self, method: str, request: object, timeout: float | None, *, wait_for_ready: bool = False) -> Any:
        """Send one call, as :meth:`Sender.send`; raise ServiceError once the channel is closed."""
        with self.while_open():
            return self.method(method)(request, timeout=timeout, metadata=self._metadata, wait_for_ready=wait_for_ready)

    async def sleep(self, seconds: float) -> None:
        """Wait; return early if the channel is closed."""
        self._closed.wait(seconds)

    async def gather(self, tasks: Iterable[Callable[[Sender], Coroutine[Any, Any, Result]]]) -> list[Result]:
        """Run tasks in two threads, as :meth:`Transport.gather`."""
        tasks = list(tasks)
        if len(tasks) == 1:
            return [await tasks[0](self)]
        group, results = _CallGroup(self, self._metadata), dict[int, Result]()
        waiting, lock = iter(enumerate(tasks)), threading.Lock()

        def work() -> None:
            while True:
                with lock:
                    i, task = next(waiting, (-1, None))
                if task is None:
                    return
                results[i] = run_blocking(task(group))

        self._groups.add(group)
        with ThreadPoolExecutor(_PARALLEL_CALLS, thread_name_prefix="anomaly-vae-client") as pool:
            try:
                for worker in as_completed([pool.submit(work) for _ in range(_PARALLEL_CALLS)]):
                    worker.result()
            finally:  # also at Ctrl-C, because the pool waits for its threads
                group.cancel()
                self._groups.discard(group)
        return [results[i] for i in range(len(tasks))]

    def method(self, name: str) -> Any:
        """Return the stub's method of that name."""
        return getattr(self._stub, name)

    @contextlib.contextmanager
    def while_open(self) -> Iterator[None]:
        """Raise ServiceError if the channel is closed, or is closed before the block ends."""
        self._check_open()
        try:
            yield
        except (ValueError, grpc.FutureCancelledError, grpc.RpcError):  # gRPC raises any of these on a closed channel
            self._check_open()
            raise

    def _check_open(self) -> None:
        if self._closed.is_set():
            raise ServiceError(f"{self._target.address}: the client is closed; make another", code="CANCELLED")

    def close(self) -> None:
        """Close the channel; calls in progress fail."""
        self._closed.set()
        self._channel.close()
        for group in tuple(self._groups):
            group.cancel()


class _CallGroup(Sender):
    """Sends the calls of one :meth:`BlockingTransport.gather` from several threads, and can cancel them together."""

    def __init__(self, transport: BlockingTransport, metadata: tuple[tuple[str, str], ...]) -> None:
        self._transport = transport
        self._metadata = metadata
        self._lock = threading.Lock()
        self._cancelled = threading.Event()
        self._in_progress: set[Any] = set()

    async def send(self, method: str, request: object, timeout: float | None, *, wait_for_ready: bool = False) -> Any:
        with self._transport.while_open():
            with self._lock:
                if self._cancelled.is_set():
                    raise grpc.FutureCancelledError
                call = self._transport.method(method).future(
                    request, timeout=timeout, metadata=self._metadata, wait_for_ready=wait_for_ready
                )
                self._in_progress.add(call)
            try:
                return call.result()
            finally:
                with self._lock:
                    self._in_progress.discard(call)

    async def sleep(self, seconds: float) -> None:
        self._cancelled.wait(seconds)

    def cancel(self) -> None:
        with self._lock:
            self._cancelled.set()
            in_progress = list(self._in_progress)
        for call in in_progress:
            call.cancel()


def run_blocking(coroutine: Coroutine[Any, Any, Result]) -> Result:
    """Run a coroutine that never suspends, and return its result; it needs no event loop.

    Raises:
        RuntimeError: The coroutine suspended.
    """
    try:
        coroutine.send(None)
    except StopIteration as end:
        result: Result = end.value
        return result
    finally:
        coroutine.close()
    raise RuntimeError("a blocking transport suspended")
