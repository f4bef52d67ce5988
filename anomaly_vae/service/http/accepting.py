"""A listening socket, and the connections that it accepts on an event loop."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable

from anomaly_vae.errors import StartupError

__all__ = ["Acceptor", "listening_socket"]

# Connections accepted per turn of the loop. Chosen, not measured: so few that a new connection is read before later
# ones can take its place.
_ACCEPTS_PER_TURN = 16
_RETRY_S = 0.1  # after the process ran out of descriptors; chosen, not measured

# Length of the kernel's accept queue, the most that Linux allows by default. If the queue is full, the kernel of a new
# client tries again after 1 s. A queue of 2,000 half-sent requests takes 0.08 to 0.3 s (measured on 2 cores).
_BACKLOG = 4096


class Acceptor:
    """Accepts the connections of a listening socket while it is started."""

    def __init__(self, listener: socket.socket, on_client: Callable[[socket.socket, str], None]) -> None:
        """Accept nothing yet.

        Args:
            listener: A non-blocking listening socket.
            on_client: Called with each connection, non-blocking, and the address of its peer.
        """
        self._listener = listener
        self._on_client = on_client
        self._loop = asyncio.get_running_loop()
        self._is_stopped = True

    def start(self) -> None:
        """Accept connections from now on, also those that wait already."""
        self._is_stopped = False
        self._loop.add_reader(self._listener, self._accept)

    def stop(self) -> None:
        """Accept no more connections. The socket stays open."""
        self._is_stopped = True
        self._loop.remove_reader(self._listener)

    def _accept(self) -> None:
        """Accept a few waiting connections."""
        try:
            for _ in range(_ACCEPTS_PER_TURN):
                client, address = self._listener.accept()
                client.setblocking(False)
                self._on_client(client, address[0])
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return
        except OSError:  # out of descriptors: the socket stays readable, so the loop would call this without a pause
            self._loop.remove_reader(self._listener)
            self._loop.call_later(_RETRY_S, self._resume)

    def _resume(self) -> None:
        if not self._is_stopped:
            self._loop.add_reader(self._listener, self._accept)


def listening_socket(host: str, port: int, what: str, *, reuse_port: bool = False) -> socket.socket:
    """Return a non-blocking listening socket.

    Args:
        host: Address to listen on.
        port: Port; 0 takes a free one.
        what: What it is for, in the text of an error.
        reuse_port: Whether several processes share the port.

    Raises:
        StartupError: The address cannot be listened on.
    """
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with contextlib.ExitStack() as stack:
            listener = stack.enter_context(socket.socket(family, socket.SOCK_STREAM))
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if reuse_port:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            listener.bind(address)
            listener.listen(_BACKLOG)
            listener.setblocking(False)
            stack.pop_all()
            return listener
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise StartupError(f"cannot listen on {host}, port {port}, for {what}: {reason}") from error
