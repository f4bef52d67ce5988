"""Messages between the workers that serve one port. A process that serves alone is its only worker."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol

__all__ = ["Alone", "Answer", "Handler", "Peers"]

# Takes the content of a message and returns the answer. Both are what JSON can hold.
Handler = Callable[[dict[str, Any]], Awaitable[Any]]


@dataclass(frozen=True)
class Answer:
    """What a worker answered to a message.

    Attributes:
        worker: Its number.
        value: What its handler returned; None after an error.
        error: Why it failed; empty if it did not.
    """

    worker: int
    value: Any = None
    error: str = ""


class Peers(Protocol):
    """All workers of a service, this one among them."""

    def handle(self, kind: str, handler: Handler) -> None:
        """Call a coroutine function for each message of a kind, on the event loop that runs now.

        The kinds are "load" and "unload" (content: ``name``) and "reload" (SIGHUP).
        """
        ...

    async def broadcast(self, kind: str, content: dict[str, Any]) -> list[Answer]:
        """Send a message to all ready workers, and return their answers by number.

        The last "load" or "unload" of a name that a worker accepted is repeated to workers that start later.
        """
        ...


class Alone(Peers):
    """The only worker."""

    def __init__(self) -> None:
        """Start without handlers."""
        self._handlers: dict[str, Handler] = {}

    def handle(self, kind: str, handler: Handler) -> None:
        """As :meth:`Peers.handle`."""
        self._handlers[kind] = handler

    async def broadcast(self, kind: str, content: dict[str, Any]) -> list[Answer]:
        """Answer the message in this process. Exceptions pass."""
        return [Answer(0, await self._handlers[kind](content))]
