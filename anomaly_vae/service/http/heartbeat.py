"""Checks from another thread whether an event loop still runs its callbacks."""

from __future__ import annotations

import asyncio
import contextlib

__all__ = ["Heartbeat"]

# Seconds. Chosen, not measured: longer reports a stuck loop later, shorter mistakes a busy loop for a stuck one.
_TIMEOUT_S = 2.0


class Heartbeat:
    """Schedules a callback on the watched loop and waits for it on another loop. Concurrent checks share one beat."""

    def __init__(self, watched: asyncio.AbstractEventLoop) -> None:
        """Remember the loop to watch. Nothing is scheduled yet."""
        self._watched = watched
        self._beat: asyncio.Future[None] | None = None
        self._scheduled_at = 0.0

    async def check(self) -> tuple[bool, str]:
        """Return whether the watched loop runs, and a word for the reply.

        All calls must come from one loop, and not from the watched one.
        """
        here = asyncio.get_running_loop()
        if self._beat is None or self._beat.done():
            self._beat, self._scheduled_at = here.create_future(), here.time()
            try:
                self._watched.call_soon_threadsafe(_confirm, here, self._beat)
            except RuntimeError:  # the watched loop is closed
                self._beat = None
                return False, "stopped"
        left = self._scheduled_at + _TIMEOUT_S - here.time()
        done, _ = await asyncio.wait({self._beat}, timeout=max(left, 0))
        return (True, "alive") if done else (False, "the event loop is stuck")


def _confirm(checking: asyncio.AbstractEventLoop, beat: asyncio.Future[None]) -> None:
    with contextlib.suppress(RuntimeError):  # the checking loop is closed
        checking.call_soon_threadsafe(beat.set_result, None)
