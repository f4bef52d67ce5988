"""Requests of a stream to replies of a stream: several under way, in order, no faster than they are read."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

__all__ = ["Interrupted", "in_order"]

# So many that the computing threads find the next request when they are done with one.
_AT_A_TIME = 4


class Interrupted(Exception):
    """The stream was not read to its end; what was read is answered."""


async def in_order(
    requests: AsyncIterator[bytes], answer: Callable[[bytes], Awaitable[bytes]], stop: asyncio.Event
) -> AsyncIterator[bytes]:
    """Answer every request, until the event is set.

    The first request that fails ends it with its error, after the replies to those before. At most :data:`_AT_A_TIME`
    requests are read and not answered: a peer that does not read its replies is not read either.

    Raises:
        Interrupted: The event was set before the requests ended.
    """
    waiting: asyncio.Queue[asyncio.Task[bytes] | None] = asyncio.Queue()
    free = asyncio.Semaphore(_AT_A_TIME)
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
