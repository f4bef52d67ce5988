"""HTTP for probes and metrics, in a thread with an event loop of its own: it answers while the service's is stuck."""

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

from anomaly_vae.errors import StartupError
from anomaly_vae.service.http_exchange import Exchange, Reply, Request, text_reply
from anomaly_vae.service.logs import event
from anomaly_vae.service.page import Page
from anomaly_vae.service.places import Places

__all__ = ["HttpServer"]

_LOG = logging.getLogger("anomaly_vae.service")

_SECONDS_PER_CONNECTION = 5.0

# Places for connections in each state, 184 in all: service/transport.py leaves 256 descriptors beside gRPC's. Half-sent
# requests, scrapers that wait for a page and probes that wait for the service's event loop never compete for a place.
_MOST_ASKING, _MOST_TAKING_A_PAGE, _MOST_OTHERS = 64, 96, 24

# Connections accepted before their requests are read. Far fewer than the places: a newcomer is read before it can lose
# its place.
_LET_IN_AT_ONCE = 16
_SECONDS_WITHOUT_DESCRIPTORS = 0.1

# Connections that wait to be accepted, as many as Linux allows by default. If the queue is full, a newcomer's kernel
# tries again after 1 s; 2,000 half-sent requests in the queue take 0.08 to 0.3 s (measured on 2 cores).
_QUEUE = 4096

Probe = Callable[[], Awaitable[tuple[bool, str]]]


class HttpServer:
    """Answers /metrics, /livez and /readyz."""

    def __init__(self, host: str, port: int, registry: CollectorRegistry, *, alive: Probe, ready: Probe) -> None:
        """Listen at once.

        Args:
            host: Address to listen on.
            port: Port; 0 takes a free one.
            registry: What /metrics shows.
            alive: Whether this process works, and why not. Awaited on this server's event loop.
            ready: Whether rows can be scored, and why not. Awaited there, too.

        Raises:
            StartupError: The address cannot be listened on.
        """
        self._page = Page(registry)
        self._probes = {"/livez": alive, "/readyz": ready}
        self._asking, self._taking_a_page = Places(_MOST_ASKING), Places(_MOST_TAKING_A_PAGE)
        self._others = Places(_MOST_OTHERS)
        self._tasks: set[asyncio.Task[None]] = set()
        self._stop = asyncio.Event()
        self._listener = _listen(host, port)
        self._port = int(self._listener.getsockname()[1])
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="http", daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        """Where it listens, or listened."""
        return self._port

    def close(self) -> None:
        """Stop listening and hang up."""
        with contextlib.suppress(RuntimeError):  # closed before
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        self._listener.close()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        self._loop.add_reader(self._listener, self._let_in)
        await self._stop.wait()
        self._loop.remove_reader(self._listener)

    def _let_in(self) -> None:
        """Accept waiting connections, a few at a time."""
        try:
            for _ in range(_LET_IN_AT_ONCE):
                client, address = self._listener.accept()
                client.setblocking(False)
                task = self._loop.create_task(self._converse(client, address[0]))
                self._tasks.add(task)
                task.add_done_callback(partial(self._hang_up, client))
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return
        except OSError:  # out of descriptors: the listener stays readable, and would be asked without end
            self._loop.remove_reader(self._listener)
            self._loop.call_later(_SECONDS_WITHOUT_DESCRIPTORS, self._let_in_again)

    def _let_in_again(self) -> None:
        if not self._stop.is_set():
            self._loop.add_reader(self._listener, self._let_in)

    def _hang_up(self, client: socket.socket, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        client.close()
        error = None if task.cancelled() else task.exception()
        if error is not None:
            _LOG.error("HTTP failed with %s", type(error).__name__, exc_info=error, extra=event("fault"))

    async def _converse(self, client: socket.socket, address: str) -> None:
        """Read a request and reply, all within the time of a connection."""
        exchange = Exchange(client)
        with contextlib.suppress(OSError):  # of a client that hangs up, or takes too long
            async with asyncio.timeout(_SECONDS_PER_CONNECTION):
                with self._asking.hold(address):
                    request = await exchange.read()
                if request is None:
                    return
                with self._places_for(request).hold(address):
                    await exchange.send(await self._reply(request, address))
                if exchange.more_may_come:
                    with self._asking.hold(address):
                        await exchange.read_the_rest()

    def _places_for(self, request: Request | Reply) -> Places:
        return self._taking_a_page if isinstance(request, Request) and request.path == "/metrics" else self._others

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


def _listen(host: str, port: int) -> socket.socket:
    """A listening socket that does not block.

    Raises:
        StartupError: The address cannot be listened on.
    """
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with contextlib.ExitStack() as stack:
            listener = stack.enter_context(socket.socket(family, socket.SOCK_STREAM))
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(_QUEUE)
            listener.setblocking(False)
            stack.pop_all()
            return listener
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise StartupError(f"cannot listen on {host}, port {port}, for metrics: {reason}") from error
