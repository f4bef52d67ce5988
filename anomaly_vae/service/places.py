"""A bounded number of places for connections; a newcomer always gets one."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Any

__all__ = ["Places"]


class Places:
    """Places held by tasks. At the limit, the address with the most places loses its oldest one to the newcomer.

    The task that loses its place is cancelled. All calls come from one event loop.
    """

    def __init__(self, limit: int) -> None:
        """Start empty."""
        self._limit = limit
        self._taken = 0
        self._holders: dict[str, dict[asyncio.Task[Any], None]] = {}  # by address, oldest first

    @contextlib.contextmanager
    def hold(self, address: str) -> Iterator[None]:
        """Hold a place for the calling task."""
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a place is held by a task, and none is running")
        if self._taken == self._limit:
            self._push_out()
        self._holders.setdefault(address, {})[task] = None
        self._taken += 1
        try:
            yield
        finally:
            self._free(task, address)

    def _push_out(self) -> None:
        address = max(self._holders, key=lambda address: len(self._holders[address]))
        task = next(iter(self._holders[address]))
        self._free(task, address)
        task.cancel()

    def _free(self, task: asyncio.Task[Any], address: str) -> None:
        """Free the place of a task, unless it has lost it before."""
        tasks = self._holders.get(address, {})
        if task not in tasks:
            return
        del tasks[task]
        self._taken -= 1
        if not tasks:
            del self._holders[address]
