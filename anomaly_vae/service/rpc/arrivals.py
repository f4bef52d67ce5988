"""Calls that have begun and whose message has not arrived. A client may never send it."""

from __future__ import annotations

import asyncio
import time
from typing import Any, TypeAlias

import grpc

from anomaly_vae.service.call_errors import CallError, invalid

__all__ = ["Arrivals"]

# gRPC itself waits for the messages of this many calls, which costs least and has no limit of time. Chosen, not
# measured: most clients send the message together with the start of the call, so few calls wait at any time.
_MOST_UNLIMITED = 64
_CHECKS_PER_LIMIT = 4

Context: TypeAlias = grpc.aio.ServicerContext


class Arrivals:
    """Limits the time for messages to arrive. All methods belong to the event loop's thread.

    gRPC for Python hands a unary call over once its message is there, and has no limit of that time. Only a call that
    is handled as a stream can be ended before. That takes longer, so it is done when many calls wait.
    """

    def __init__(self, seconds: float) -> None:
        """Set how long a message may take to arrive."""
        self.seconds = seconds
        self._waiting: dict[asyncio.Task[Any], float] = {}

    def may_wait(self) -> bool:
        """Return whether gRPC may wait for the message of the current task's call; if so, count it."""
        task = asyncio.current_task()
        if task is None or len(self._waiting) >= _MOST_UNLIMITED:
            return False
        self._waiting[task] = time.monotonic()
        task.add_done_callback(lambda task: self._waiting.pop(task, None))
        return True

    def has_arrived(self) -> None:
        """Note that the message of the current task's call is there."""
        task = asyncio.current_task()
        if task is not None:
            self._waiting.pop(task, None)

    async def read(self, context: Context) -> bytes:
        """Return the message of a call that is handled as a stream.

        Raises:
            CallError: It did not arrive in time, or there is none.
        """
        try:
            async with asyncio.timeout(self.seconds):
                data = await context.read()
        except TimeoutError as error:
            text = f"the request did not arrive within {self.seconds:g} s; send it again"
            raise CallError(grpc.StatusCode.ABORTED, text) from error
        if data is grpc.aio.EOF:
            raise invalid("request", "is missing: the call ended without a message")
        return bytes(data)

    async def cancel_late(self) -> None:
        """Run forever: stop to wait for messages that are late, so that later calls need not be handled as streams.

        gRPC keeps such a call until its connection ends; a connection has at most ``max_streams`` calls.
        """
        while True:
            await asyncio.sleep(self.seconds / _CHECKS_PER_LIMIT)
            oldest = time.monotonic() - self.seconds
            for task, since in list(self._waiting.items()):
                if since < oldest:
                    task.cancel()
