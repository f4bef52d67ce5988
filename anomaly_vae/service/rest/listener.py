"""The port of HTTP: accepts connections, by TLS if there is a certificate, and limits their number."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable
from http import HTTPStatus

from anomaly_vae.service.http.accepting import Acceptor, listening_socket
from anomaly_vae.service.rest.connection import Connection
from anomaly_vae.service.rest.exchange import Exchange

__all__ = ["RestListener"]

_HANDSHAKE_S = 10.0  # seconds for TLS's handshake, as for gRPC's
_CLOSE_S = 2.0  # seconds for the peer's last message of TLS; chosen, not measured


class RestListener:
    """Listens, and answers the requests of all connections.

    At the limit, a new connection takes the place of the one that has waited the longest for a request, or for the rest
    of one. If requests of all are being answered, the new one is closed.
    """

    def __init__(
        self,
        answer: Callable[[Exchange], Awaitable[None]],
        on_refused: Callable[[HTTPStatus], None],
        limit: int,
        context: Callable[[], ssl.SSLContext] | None,
    ) -> None:
        """Open nothing yet.

        Args:
            answer: Sends exactly one reply to a request.
            on_refused: Called with the status of the reply to something that is no request.
            limit: The most connections.
            context: Returns the current certificate; called for each connection. None: plaintext.
        """
        self._answer, self._on_refused, self._limit, self._context = answer, on_refused, limit, context
        self._loop = asyncio.get_running_loop()
        self._connections: dict[Connection, None] = {}  # those that wait for a request: the longest first
        self._handshakes: dict[asyncio.Task[None], None] = {}
        self._socket: socket.socket | None = None
        self._acceptor: Acceptor | None = None

    def start(self, host: str, port: int, *, reuse_port: bool) -> int:
        """Listen, and return the port.

        Raises:
            StartupError: The address cannot be listened on, or the certificate cannot be used.
        """
        if self._context is not None:
            self._context()
        self._socket = listening_socket(host, port, "HTTP", reuse_port=reuse_port)
        self._acceptor = Acceptor(self._socket, self._begin)
        self._acceptor.start()
        return int(self._socket.getsockname()[1])

    def close(self) -> None:
        """Stop to listen, and close all connections. Requests that are answered still are cancelled."""
        if self._acceptor is not None and self._socket is not None:
            self._acceptor.stop()
            self._socket.close()
        for task in self._handshakes:
            task.cancel()
        for connection in tuple(self._connections):
            connection.abort()

    def close_idle(self) -> None:
        """Close the connections without a request."""
        for connection in tuple(self._connections):
            if connection.is_idle:
                connection.abort()

    def _begin(self, client: socket.socket, _address: str) -> None:
        if len(self._connections) + len(self._handshakes) >= self._limit and not self._make_room():
            client.close()
            return
        task = self._loop.create_task(self._connect(client))
        self._handshakes[task] = None
        task.add_done_callback(lambda task: self._handshakes.pop(task, None))

    def _make_room(self) -> bool:
        """Close the connection that has waited the longest for its peer. Return whether there is one.

        It leaves the lists now, so that the next of many new ones finds another.
        """
        for connection in self._connections:
            if connection.is_reading:
                del self._connections[connection]
                connection.abort()
                return True
        for task in self._handshakes:
            del self._handshakes[task]
            task.cancel()
            return True
        return False

    async def _connect(self, client: socket.socket) -> None:
        context = None if self._context is None else self._context()
        times = {} if context is None else {"ssl_handshake_timeout": _HANDSHAKE_S, "ssl_shutdown_timeout": _CLOSE_S}
        try:
            await self._loop.connect_accepted_socket(self._connection, client, ssl=context, **times)
        except (OSError, asyncio.CancelledError):  # no handshake: plaintext to TLS, no client certificate, too slow
            client.close()

    def _connection(self) -> Connection:
        return Connection(self._answer, self._on_refused, self._connections)
