"""A worker's end of the connection to its supervisor."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from prometheus_client import CollectorRegistry

from anomaly_vae.errors import AnomalyVaeError
from anomaly_vae.service.http.heartbeat import Heartbeat
from anomaly_vae.service.peers import Answer, Handler, Peers
from anomaly_vae.service.supervisor.channel import Channel, ChannelError
from anomaly_vae.service.supervisor.snapshot import take_snapshot

__all__ = ["Control"]

# Seconds that a worker may take longer than its grace to end after its supervisor is gone. Chosen, not measured: its
# drain has waits of 4 s beside the grace.
_BEYOND_GRACE_S = 10.0
_EXIT_ORPHANED = 1

_LAST_MESSAGE_S = 1.0  # for the answer to a last message; chosen, not measured

Result = TypeVar("Result")


class Control(Peers):
    """Talks with the supervisor in a thread and event loop of its own, so that it answers while the service is stuck.

    When the supervisor is gone, the worker drains and ends.
    """

    def __init__(self, end: socket.socket) -> None:
        """Start the thread.

        Args:
            end: The worker's socket.
        """
        self._channel = Channel(end, self._handle)
        self._handlers: dict[str, tuple[asyncio.AbstractEventLoop, Handler]] = {}
        self._registry: CollectorRegistry | None = None
        self._heartbeat: Heartbeat | None = None
        self._stop: Callable[[], object] | None = None
        self._stopping = False
        self._grace = 0.0
        self._taking = asyncio.Lock()  # so that snapshots are sent in the order in which they are taken
        self._loop = asyncio.new_event_loop()
        opened = threading.Event()
        threading.Thread(target=self._run, args=(opened,), name="control", daemon=True).start()
        opened.wait()

    def ask(self, kind: str, content: dict[str, Any] | None = None) -> Any:
        """Send a request to the supervisor and wait, blocking, for its answer; raise ChannelError if it is gone."""
        return asyncio.run_coroutine_threadsafe(self._channel.request(kind, content), self._loop).result()

    async def request(self, kind: str, content: dict[str, Any] | None = None) -> Any:
        """As :meth:`ask`, without blocking the loop of the service."""
        return await self._there(self._channel.request(kind, content))

    def attach(
        self, registry: CollectorRegistry, heartbeat: Heartbeat, stop: Callable[[], object], grace: float
    ) -> None:
        """Serve the supervisor's questions about a service.

        Args:
            registry: Its metrics.
            heartbeat: Tells whether its loop runs.
            stop: Makes it drain; called on its loop, which is the running one.
            grace: Seconds that it may take for this.
        """
        loop = asyncio.get_running_loop()
        self._registry, self._heartbeat, self._grace = registry, heartbeat, grace
        self._stop = lambda: loop.call_soon_threadsafe(stop)
        if self._stopping:
            stop()

    def handle(self, kind: str, handler: Handler) -> None:
        """As :meth:`Peers.handle`."""
        self._handlers[kind] = asyncio.get_running_loop(), handler

    @property
    def kinds(self) -> list[str]:
        """The kinds of messages that have a handler."""
        return sorted(self._handlers)

    async def broadcast(self, kind: str, content: dict[str, Any]) -> list[Answer]:
        """As :meth:`Peers.broadcast`."""
        answers = await self.request("broadcast", {"kind": kind, "content": content})
        return [Answer(**answer) for answer in answers]

    def send_last_metrics(self) -> None:
        """Send the final values of the metrics."""
        if self._registry is not None:
            self._ask_briefly("last_metrics", {"snapshot": take_snapshot(self._registry)})

    def send_failure(self, text: str, exit_code: int) -> None:
        """Tell the supervisor why this process ends."""
        self._ask_briefly("failed", {"text": text, "exit_code": exit_code})

    def _ask_briefly(self, kind: str, content: dict[str, Any]) -> None:
        with contextlib.suppress(ChannelError):  # nobody is there to read it
            request = self._channel.request(kind, content, seconds=_LAST_MESSAGE_S)
            asyncio.run_coroutine_threadsafe(request, self._loop).result()

    async def _there(self, coroutine: Coroutine[Any, Any, Result]) -> Result:
        """Run a coroutine on the control loop, and wait for it on the running one."""
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(coroutine, self._loop))

    def _run(self, opened: threading.Event) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._serve(opened))

    async def _serve(self, opened: threading.Event) -> None:
        reader = await self._channel.open()
        opened.set()
        await self._channel.read(reader)
        self._drain()
        await asyncio.sleep(self._grace + _BEYOND_GRACE_S)
        os._exit(_EXIT_ORPHANED)  # the loop of the service is stuck: nobody else would ever end this process

    def _drain(self) -> None:
        self._stopping = True
        if self._stop is not None:
            with contextlib.suppress(RuntimeError):  # the loop of the service has ended already
                self._stop()

    async def _handle(self, kind: str, content: dict[str, Any]) -> Any:
        if kind == "check":
            return await self._check()
        if kind == "metrics":
            async with self._taking:
                return await asyncio.to_thread(take_snapshot, self._registry) if self._registry else []
        if kind == "drain":
            return self._drain()
        if kind not in self._handlers:
            raise AnomalyVaeError(f"this worker cannot handle {kind!r}")
        loop, handler = self._handlers[kind]
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(_awaited(handler, content), loop))

    async def _check(self) -> str:
        """Return how the loop of the service is; raise if it is stuck."""
        if self._heartbeat is None:
            return "starting"
        alive, text = await self._heartbeat.check()
        if not alive and text != "stopped":
            raise AnomalyVaeError(text)
        return text


async def _awaited(handler: Handler, content: dict[str, Any]) -> Any:
    return await handler(content)
