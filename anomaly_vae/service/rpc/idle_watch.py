"""Ends a stream whose client does nothing for long."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Any, TypeAlias

import grpc

__all__ = ["IdleWatch"]

Context: TypeAlias = grpc.aio.ServicerContext


class IdleWatch:
    """Cancels the current task if the client neither sends a request nor reads a reply. Use it as a ``with`` block.

    The time while the service works on requests that it has read does not count.

    Attributes:
        has_expired: Whether it has cancelled the task.
    """

    def __init__(self, seconds: float, loop: asyncio.AbstractEventLoop) -> None:
        """Set how long the client may do nothing, and what runs the timer."""
        self._seconds = seconds
        self._loop = loop
        self._task = asyncio.current_task()
        self._unanswered, self._is_writing = 0, False
        self._since = self._loop.time()
        self.has_expired = False

    def __enter__(self) -> IdleWatch:
        """Start to watch."""
        self._timer = self._loop.call_later(self._seconds, self._check)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop to watch."""
        self._timer.cancel()

    async def read(self, messages: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """Yield the requests of the stream."""
        async for message in messages:
            self._unanswered += 1
            self._since = self._loop.time()
            yield message

    async def write(self, context: Context, reply: Any) -> None:
        """Send a reply, the only one to a request."""
        self._is_writing, self._since = True, self._loop.time()
        await context.write(reply)
        self._is_writing, self._since = False, self._loop.time()
        self._unanswered -= 1

    def _check(self) -> None:
        is_working = self._unanswered > 0 and not self._is_writing
        left = self._seconds if is_working else self._since + self._seconds - self._loop.time()
        if left > 0:
            self._timer = self._loop.call_later(left, self._check)
        elif self._task is not None:
            self.has_expired = True
            self._task.cancel()
