"""One connection of HTTP/1.1: h11 parses and frames its requests, which are answered one after the other."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any

import h11

from anomaly_vae.service.rest.errors import HttpError, error_reply
from anomaly_vae.service.rest.exchange import MAX_HEADER_BYTES, Exchange
from anomaly_vae.service.telemetry.logs import event

__all__ = ["Connection"]

_LOG = logging.getLogger("anomaly_vae.service")

# Seconds, chosen, not measured.
_HEAD_S = 10.0  # for the head of a request to arrive, like gRPC's handshake
_IDLE_S = 75.0  # between two requests: longer than the 60 s of most proxies, so that those close first
_LINGER_S = 2.0  # to read the rest of a request that was refused before its end
_MOST_DROPPED = 2**20  # bytes of that rest; chosen, not measured
# Bytes that may arrive before they are looked at, such as further requests while one is answered. Chosen, not measured:
# what asyncio reads at a time.
_MOST_AHEAD = 2**18

_BODY_HEADERS = (b"content-length", b"transfer-encoding")

Answer = Callable[[Exchange], Awaitable[None]]


class Connection(asyncio.Protocol):
    """Reads requests and calls ``answer`` for each. When the peer closes the connection, that call is cancelled.

    Attributes:
        is_idle: Whether nothing of a next request has arrived.
    """

    def __init__(
        self, answer: Answer, on_refused: Callable[[HTTPStatus], None], opened: dict[Connection, None]
    ) -> None:
        """Wait for the connection.

        Args:
            answer: Sends exactly one reply to a request.
            on_refused: Called with the status of the reply to something that is no request.
            opened: The open connections. This one adds itself, moves to the end when it begins to wait for a request,
                and leaves once it is closed.
        """
        self._answer, self._on_refused, self._opened = answer, on_refused, opened
        self._loop = asyncio.get_running_loop()
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEADER_BYTES)
        self._transport: Any = None
        self._task: asyncio.Task[None] | None = None
        self._arrived, self._writable = asyncio.Event(), asyncio.Event()
        self._num_ahead, self._num_dropped = 0, 0
        self._is_paused, self._is_dropping, self._is_first = False, False, True
        self.is_idle = False

    def connection_made(self, transport: Any) -> None:
        """Start to read requests."""
        self._transport = transport
        self._opened[self] = None
        transport.set_write_buffer_limits(high=0)  # so that "writable" means that everything is sent
        self._writable.set()
        self._task = self._loop.create_task(self._run())

    def data_received(self, data: bytes) -> None:
        """Keep the bytes for the reader. Stop reading if a peer sends far ahead of its replies."""
        if self._is_dropping:
            self._num_dropped += len(data)
        else:
            self._http.receive_data(data)
            self._num_ahead += len(data)
            if self._num_ahead > _MOST_AHEAD and not self._is_paused:
                self._is_paused = True
                self._transport.pause_reading()
        self._arrived.set()

    def connection_lost(self, _error: Exception | None) -> None:
        """Cancel what is done for the peer. The end of its data closes the connection as well."""
        self._opened.pop(self, None)
        if self._task is not None:
            self._task.cancel()

    def pause_writing(self) -> None:
        """Note that not everything is sent."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """Note that everything is sent."""
        self._writable.set()

    @property
    def is_reading(self) -> bool:
        """Whether it waits for a request, or for the rest of one."""
        return self._http.their_state in (h11.IDLE, h11.SEND_BODY)

    def abort(self) -> None:
        """Close the connection now."""
        self._transport.abort()

    async def _run(self) -> None:
        try:
            while await self._serve_one():
                self._http.start_next_cycle()
        except asyncio.CancelledError:  # the peer has gone, or has not read its reply in time
            self._transport.abort()
        except Exception as error:  # noqa: BLE001 (a task that is not awaited must report its own fault)
            _LOG.error("HTTP failed with %s", type(error).__name__, exc_info=error, extra=event("fault"))
            self._transport.abort()
        else:
            self._transport.close()

    async def _serve_one(self) -> bool:
        """Answer one request. Return whether another may follow."""
        try:
            request = await self._head()
            if request is None:
                return False
            await self._answer(Exchange(self._http, request, self._next_event, self._send, self._address()))
        except h11.RemoteProtocolError as error:
            await self._refuse(HTTPStatus(error.error_status_hint), "no request of HTTP/1.1, or its head is too long")
        except TimeoutError:
            await self._refuse(HTTPStatus.REQUEST_TIMEOUT, f"the head did not arrive within {_HEAD_S:g} s")
        if self._http.their_state not in (h11.DONE, h11.MUST_CLOSE, h11.CLOSED):
            await self._drop_the_rest()
        return self._http.our_state is h11.DONE and self._http.their_state is h11.DONE

    async def _head(self) -> h11.Request | None:
        """Return the head of the next request; None if none has begun in time."""
        self._opened.pop(self, None)
        self._opened[self] = None
        found = self._http.next_event()
        if found is h11.NEED_DATA and not self._http.trailing_data[0]:
            await self._first_byte()
            if not self._arrived.is_set():
                return None
        if found is h11.NEED_DATA:
            async with asyncio.timeout(_HEAD_S):
                found = await self._next_event()
        self._is_first = False
        if not isinstance(found, h11.Request):
            return None
        if not any(name in _BODY_HEADERS for name, _ in found.headers):
            self._http.next_event()  # the end: nobody waits for the peer now
        return found

    async def _first_byte(self) -> None:
        """Wait for the first byte of a request, at most as long as a connection may be idle."""
        self._wait_for_more()
        self.is_idle = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_HEAD_S if self._is_first else _IDLE_S):
                await self._arrived.wait()
        self.is_idle = False

    async def _next_event(self) -> Any:
        """Return the next event of h11, which is never NEED_DATA."""
        while (found := self._http.next_event()) is h11.NEED_DATA:
            self._wait_for_more()
            await self._arrived.wait()
        return found

    def _wait_for_more(self) -> None:
        """Note that everything that has arrived was looked at, and read on."""
        self._arrived.clear()
        self._num_ahead = 0
        if self._is_paused:
            self._is_paused = False
            self._transport.resume_reading()

    async def _send(self, *parts: bytes) -> None:
        """Send bytes, and wait until the kernel has all of them."""
        for part in parts:
            self._transport.write(part)
        await self._writable.wait()

    async def _refuse(self, status: HTTPStatus, text: str) -> None:
        """Reply to something that is no request, if no reply was begun."""
        if self._http.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            return
        self._on_refused(status)
        await Exchange(self._http, None, self._next_event, self._send).send(
            error_reply(HttpError(status, text)), last=True
        )

    async def _drop_the_rest(self) -> None:
        """Read and drop the rest of a refused request.

        If a socket is closed with unread data, the kernel sends a reset and the client may lose the reply.
        """
        self._is_dropping = True
        self._wait_for_more()
        if self._transport.can_write_eof():
            self._transport.write_eof()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LINGER_S):
                while self._num_dropped <= _MOST_DROPPED:
                    self._arrived.clear()
                    await self._arrived.wait()

    def _address(self) -> tuple[str, int]:
        host, port = (self._transport.get_extra_info("peername") or ("", 0))[:2]
        return host, port
