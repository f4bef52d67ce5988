"""The HTTP listener for probes and metrics. Its own thread and event loop answer while the service's loop is stuck."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import threading
from collections.abc import Awaitable, Callable
from functools import partial
from http import HTTPStatus

from prometheus_client import CollectorRegistry

from anomaly_vae.service.http.accepting import Acceptor, listening_socket
from anomaly_vae.service.http.connection_limit import ConnectionLimit
from anomaly_vae.service.http.exchange import Exchange, Reply, Request, text_reply
from anomaly_vae.service.http.metrics_page import MetricsPage
from anomaly_vae.service.telemetry.logs import event

__all__ = ["HttpListener"]

_LOG = logging.getLogger("anomaly_vae.service")

# Seconds for a request and its reply. Chosen, not measured: a scrape takes well under 1 s.
_CONNECTION_TIMEOUT_S = 5.0

# Most connections in each state, 184 in all: service/transport.py leaves 256 descriptors beside those of gRPC. Separate
# limits keep half-sent requests, scrapers that wait for a page, and probes that wait for the service's event loop from
# closing each other's connections.
_MAX_READING, _MAX_METRICS, _MAX_OTHERS = 64, 96, 24

Probe = Callable[[], Awaitable[tuple[bool, str]]]


class HttpListener:
    """Answers /metrics, /livez and /readyz."""

    def __init__(self, host: str, port: int, registry: CollectorRegistry, *, alive: Probe, ready: Probe) -> None:
        """Start to listen.

        Args:
            host: Address to listen on.
            port: Port; 0 takes a free one.
            registry: The metrics that /metrics shows.
            alive: Returns whether this process works, and the text of /livez. Awaited on the listener's event loop.
            ready: Returns whether rows can be scored, and the text of /readyz. Awaited on the same loop.

        Raises:
            StartupError: The address cannot be listened on.
        """
        self._page = MetricsPage(registry)
        self._probes = {"/livez": alive, "/readyz": ready}
        self._reading, self._metrics = ConnectionLimit(_MAX_READING), ConnectionLimit(_MAX_METRICS)
        self._others = ConnectionLimit(_MAX_OTHERS)
        self._tasks: set[asyncio.Task[None]] = set()
        self._stop = asyncio.Event()
        self._socket = listening_socket(host, port, "metrics")
        self._port = int(self._socket.getsockname()[1])
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="http", daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        """The port, also after close."""
        return self._port

    def close(self) -> None:
        """Stop listening and close all connections."""
        with contextlib.suppress(RuntimeError):  # closed before
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        self._socket.close()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        acceptor = Acceptor(self._socket, self._begin)
        acceptor.start()
        await self._stop.wait()
        acceptor.stop()

    def _begin(self, client: socket.socket, address: str) -> None:
        task = self._loop.create_task(self._handle(client, address))
        self._tasks.add(task)
        task.add_done_callback(partial(self._close_client, client))

    def _close_client(self, client: socket.socket, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        client.close()
        error = None if task.cancelled() else task.exception()
        if error is not None:
            _LOG.error("HTTP failed with %s", type(error).__name__, exc_info=error, extra=event("fault"))

    async def _handle(self, client: socket.socket, address: str) -> None:
        """Read a request and reply, all within the timeout of a connection."""
        exchange = Exchange(client)
        with contextlib.suppress(OSError):  # the client closed the connection, or the timeout has passed
            async with asyncio.timeout(_CONNECTION_TIMEOUT_S):
                with self._reading.hold(address):
                    request = await exchange.read()
                if request is None:
                    return
                with self._limit_for(request).hold(address):
                    await exchange.send(await self._reply(request, address))
                if exchange.is_incomplete:
                    with self._reading.hold(address):
                        await exchange.drain()

    def _limit_for(self, request: Request | Reply) -> ConnectionLimit:
        return self._metrics if isinstance(request, Request) and request.path == "/metrics" else self._others

    async def _reply(self, request: Request | Reply, address: str) -> Reply:
        if isinstance(request, Reply):
            return request
        if request.method not in ("GET", "HEAD"):
            return text_reply(HTTPStatus.METHOD_NOT_ALLOWED, "use GET", ("Allow", "GET, HEAD"))
        if request.path == "/metrics":
            return await self._page.reply(request, address)
        if request.path not in self._probes:
            return text_reply(HTTPStatus.NOT_FOUND, "see /metrics, /livez and /readyz")
        good, text = await self._probes[request.path]()
        return text_reply(HTTPStatus.OK if good else HTTPStatus.SERVICE_UNAVAILABLE, text)
