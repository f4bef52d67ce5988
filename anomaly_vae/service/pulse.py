"""Whether an event loop still turns."""

from __future__ import annotations

import asyncio
import contextlib

__all__ = ["Pulse"]

_SECONDS_TO_HEAR_THE_LOOP = 2.0


class Pulse:
    """Asks an event loop for a sign of life, from another one. Checks at the same time share the answer."""

    def __init__(self, watched: asyncio.AbstractEventLoop) -> None:
        """Ask nothing yet."""
        self._watched = watched
        self._sign: asyncio.Future[None] | None = None
        self._asked_at = 0.0

    async def check(self) -> tuple[bool, str]:
        """Whether the loop turns, and if not, why. All calls come from one other loop."""
        here = asyncio.get_running_loop()
        if self._sign is None or self._sign.done():
            self._sign, self._asked_at = here.create_future(), here.time()
            try:
                self._watched.call_soon_threadsafe(_answer, here, self._sign)
            except RuntimeError:
                self._sign = None
                return False, "stopped"
        left = self._asked_at + _SECONDS_TO_HEAR_THE_LOOP - here.time()
        done, _ = await asyncio.wait({self._sign}, timeout=max(left, 0))
        return (True, "alive") if done else (False, "the event loop is stuck")


def _answer(asker: asyncio.AbstractEventLoop, sign: asyncio.Future[None]) -> None:
    with contextlib.suppress(RuntimeError):  # the asker's loop is closed
        asker.call_soon_threadsafe(sign.set_result, None)
