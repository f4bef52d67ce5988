"""Answer the requests of a stream in order, several at a time, no faster than the replies are read."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

__all__ = ["Interrupted", "in_order"]

# Requests of a stream that are read and not answered yet. Enough that the compute threads have the next request when
# they finish one; each takes memory. Chosen, not measured.
_MOST_OPEN_REQUESTS = 4


class Interrupted(Exception):
    """The stream was not read to its end. All requests that were read are answered."""


async def in_order(
    requests: AsyncIterator[bytes], answer: Callable[[bytes], Awaitable[bytes]], stop: asyncio.Event
) -> AsyncIterator[bytes]:
    """Answer every request until the event is set.

    If a request fails, the replies to those before it come first, then its error is raised. At most
    :data:`_MOST_OPEN_REQUESTS` requests are read and not answered. So if a peer does not read its replies, its requests
    are not read either.

    Raises:
        Interrupted: The event was set before the requests ended.
    """
    waiting: asyncio.Queue[asyncio.Task[bytes] | None] = asyncio.Queue()
    free = asyncio.Semaphore(_MOST_OPEN_REQUESTS)
    tasks: set[asyncio.Future[bytes]] = set()

    async def read() -> None:
        await free.acquire()
        async for request in requests:
            task = asyncio.ensure_future(answer(request))
            tasks.add(task)
            waiting.put_nowait(task)
            await free.acquire()

    reader, stopped = asyncio.create_task(read()), asyncio.create_task(stop.wait())
    reader.add_done_callback(lambda _: waiting.put_nowait(None))
    stopped.add_done_callback(lambda _: reader.cancel())
    try:
        while (task := await waiting.get()) is not None:
            reply = await task
            tasks.discard(task)
            yield reply
            free.release()
        if reader.cancelled():
            raise Interrupted
        reader.result()
    finally:
        left: list[asyncio.Future[Any]] = [*tasks, reader, stopped]
        for job in left:
            job.cancel()
        await asyncio.gather(*left, return_exceptions=True)
