"""Requests and answers between the supervisor and a worker: one JSON object a line, over a pair of sockets."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import logging
import socket
from collections.abc import Awaitable, Callable
from typing import Any

from anomaly_vae.errors import AnomalyVaeError
from anomaly_vae.service.telemetry.logs import event

__all__ = ["Channel", "ChannelError"]

_LOG = logging.getLogger("anomaly_vae.service")

# Most bytes of a line. Chosen, not measured: the metrics of ten models take about 1 MiB.
_MAX_LINE = 64 * 2**20

Handle = Callable[[str, dict[str, Any]], Awaitable[Any]]


class ChannelError(AnomalyVaeError):
    """The other side failed to answer: it raised an error, or is gone, or took too long."""


class Channel:
    """One end. Both sides may send requests; answers come in any order."""

    def __init__(self, end: socket.socket, handle: Handle) -> None:
        """Take one end of a pair of stream sockets.

        Args:
            end: The socket.
            handle: Called with kind and content of each request; returns its answer.
        """
        self._end = end
        self._handle = handle
        self._writer: asyncio.StreamWriter | None = None
        self._numbers = itertools.count()
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    async def open(self) -> asyncio.StreamReader:
        """Attach the socket to the running loop. Requests can be sent from now on."""
        reader, self._writer = await asyncio.open_unix_connection(sock=self._end, limit=_MAX_LINE)
        return reader

    async def read(self, reader: asyncio.StreamReader) -> None:
        """Handle what arrives until the other side closes its end or dies. Then all open requests fail."""
        try:
            while line := await reader.readline():
                self._receive(json.loads(line))
        except ConnectionError:  # it died with messages unread
            pass
        except (OSError, ValueError) as error:
            _LOG.error("a control channel failed with %s", type(error).__name__, exc_info=error, extra=event("fault"))
        finally:
            self.close()

    async def request(self, kind: str, content: dict[str, Any] | None = None, seconds: float | None = None) -> Any:
        """Send a request and return its answer.

        Raises:
            ChannelError: The other side raised an error, is gone, or did not answer within these seconds.
        """
        number = next(self._numbers)
        answer = self._waiting[number] = asyncio.get_running_loop().create_future()
        try:
            self._send({"request": number, "kind": kind, "content": content or {}})
            async with asyncio.timeout(seconds):
                return await answer
        except TimeoutError:
            raise ChannelError(f"no answer to {kind} within {seconds:g} s") from None
        finally:
            del self._waiting[number]

    def close(self) -> None:
        """Close this end; all open requests fail."""
        self._closed = True
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(ChannelError("the process has ended"))
        if self._writer is not None:
            self._writer.close()

    def _send(self, message: dict[str, Any]) -> None:
        if self._closed or self._writer is None:
            raise ChannelError("the process has ended")
        self._writer.write(json.dumps(message).encode() + b"\n")

    def _receive(self, message: dict[str, Any]) -> None:
        if "request" in message:
            task = asyncio.create_task(self._answer(message))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            return
        answer = self._waiting.get(message["answer"])
        if answer is None or answer.done():  # it came too late
            return
        if "error" in message:
            answer.set_exception(ChannelError(message["error"]))
        else:
            answer.set_result(message["value"])

    async def _answer(self, message: dict[str, Any]) -> None:
        reply: dict[str, Any] = {"answer": message["request"]}
        try:
            reply["value"] = await self._handle(message["kind"], message["content"])
        except AnomalyVaeError as error:
            reply["error"] = str(error)
        except Exception as error:  # noqa: BLE001 (the other side waits for an answer)
            reply["error"] = f"internal error: {type(error).__name__}; the log of the service says where"
            _LOG.error("%s failed with %s", message["kind"], type(error).__name__, exc_info=error, extra=event("fault"))
        with contextlib.suppress(ChannelError):
            self._send(reply)
