"""The calls in progress: limited in number, and waited for when the service drains."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections import Counter
from collections.abc import Collection, Hashable, Iterator
from functools import partial
from typing import Any, TypeAlias

import grpc

from anomaly_vae.service.call_errors import CallError
from anomaly_vae.service.queue.shared_limit import SharedLimit
from anomaly_vae.service.telemetry.metrics import Metrics
from anomaly_vae.service.telemetry.records import caller_of

__all__ = ["Context", "OpenCalls"]

# Delay before a retry when there are too many calls, seconds. Chosen, not measured: most calls take less.
_RETRY_AFTER = 0.1

Context: TypeAlias = grpc.aio.ServicerContext


class OpenCalls:
    """Counts calls from their start until their replies are sent.

    Finite calls, which end by themselves, are limited, and waited for when the service drains. Endless streams, such as
    a health watch, are not counted; they are cancelled.
    """

    def __init__(self, limit: int, metrics: Metrics) -> None:
        """Start with no call.

        Args:
            limit: The most finite calls, shared among callers.
            metrics: Where refusals are counted.
        """
        self._limit = SharedLimit(limit, "calls are under way")
        self._metrics = metrics
        self._peers: Counter[str] = Counter()
        self._unread: dict[Context, tuple[asyncio.Task[Any] | None, float]] = {}
        self._all_answered = asyncio.Event()
        self._all_answered.set()
        self._streams: set[asyncio.Task[Any] | None] = set()
        self.is_ending = False

    @property
    def unfinished(self) -> int:
        """Finite calls whose replies are not sent yet."""
        return self._limit.total

    @property
    def peers(self) -> Collection[str]:
        """The connections with a call in progress, as gRPC names them."""
        return self._peers.keys()

    def too_many(self, caller: Hashable = None) -> CallError | None:
        """Return and count a refusal if there may be no further call, or none of this caller; otherwise None."""
        text = self._limit.refusal(caller, 1)
        if text is None:
            return None
        self._metrics.reject("queue_full")
        return CallError(grpc.StatusCode.RESOURCE_EXHAUSTED, text, retry_after=_RETRY_AFTER)

    def admit(self, context: Context, *, always: bool = False) -> CallError | None:
        """Count a finite call until its reply is sent. If there are too many, return why, unless ``always`` is set."""
        caller = caller_of(context)
        error = None if always else self.too_many(caller)
        if error is None:
            self._limit.take(caller, 1)
            self._unread[context] = None, math.inf
            self._all_answered.clear()
            context.add_done_callback(partial(self._forget, caller))
        return error

    def mark_replied(self, context: Context) -> None:
        """Note that the current task gives its reply to gRPC now."""
        if context in self._unread:  # otherwise the call has ended already
            self._unread[context] = asyncio.current_task(), time.monotonic()

    @contextlib.contextmanager
    def from_peer(self, peer: str) -> Iterator[None]:
        """Count a call of a connection within this block."""
        self._peers[peer] += 1
        try:
            yield
        finally:
            self._peers[peer] -= 1
            if not self._peers[peer]:
                del self._peers[peer]

    @contextlib.contextmanager
    def as_stream(self) -> Iterator[None]:
        """Let :meth:`end_streams` cancel the current task within this block."""
        task = asyncio.current_task()
        self._streams.add(task)
        try:
            yield
        finally:
            self._streams.discard(task)

    async def wait_until_answered(self) -> None:
        """Wait until no finite call is left."""
        await self._all_answered.wait()

    async def cancel_unread_replies(self, seconds: float) -> None:
        """Run forever: cancel calls whose reply is not read within this time, since each counts towards the limit."""
        while True:
            await asyncio.sleep(seconds / 4)
            oldest = time.monotonic() - seconds
            for task, since in list(self._unread.values()):
                if task and since < oldest:
                    task.cancel()

    def end_streams(self) -> None:
        """End the streams that are left with UNAVAILABLE."""
        self.is_ending = True
        for task in self._streams:
            if task:
                task.cancel()

    def _forget(self, caller: str, context: Context) -> None:
        self._unread.pop(context, None)
        self._limit.give_back(caller, 1)
        if not self._limit.total:
            self._all_answered.set()
