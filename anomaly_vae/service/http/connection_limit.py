"""A limit on open connections that always admits a new one."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Any

__all__ = ["ConnectionLimit"]


class ConnectionLimit:
    """Bounds the connections in one state. Each connection is handled by one task.

    At the limit, a new connection replaces the oldest one of the address with the most connections. The task of the
    replaced connection is cancelled. All calls must come from one event loop.
    """

    def __init__(self, limit: int) -> None:
        """Start with no connections."""
        self._limit = limit
        self._count = 0
        self._tasks: dict[str, dict[asyncio.Task[Any], None]] = {}  # by address, oldest first

    @contextlib.contextmanager
    def hold(self, address: str) -> Iterator[None]:
        """Count the connection of the current task while the context is open.

        Raises:
            RuntimeError: Called outside of a task.
        """
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("ConnectionLimit.hold() must be called inside an asyncio task")
        if self._count == self._limit:
            self._cancel_one()
        self._tasks.setdefault(address, {})[task] = None
        self._count += 1
        try:
            yield
        finally:
            self._release(task, address)

    def _cancel_one(self) -> None:
        address = max(self._tasks, key=lambda address: len(self._tasks[address]))
        task = next(iter(self._tasks[address]))
        self._release(task, address)
        task.cancel()

    def _release(self, task: asyncio.Task[Any], address: str) -> None:
        """Stop counting a task. Do nothing if it was released before."""
        tasks = self._tasks.get(address, {})
        if task not in tasks:
            return
        del tasks[task]
        self._count -= 1
        if not tasks:
            del self._tasks[address]
