"""A port that is kept for the workers, whether one of them listens or not."""

from __future__ import annotations

import contextlib
import socket
from typing import Any

from anomaly_vae.errors import StartupError

__all__ = ["HeldPort"]


class HeldPort:
    """A port that only processes of this user can share, and only by SO_REUSEPORT.

    Attributes:
        port: Its number.
    """

    def __init__(self, host: str, port: int, option: str = "port") -> None:
        """Bind the port on all addresses of a host.

        Args:
            host: The host.
            port: The port; 0 takes a free one.
            option: The option that sets the port, for the error.

        Raises:
            StartupError: Another process has the port, or the address does not belong to this machine.
        """
        self._stack = contextlib.ExitStack()
        self.port = port
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
            for family, address in dict.fromkeys((family, address) for family, *_, address in found):
                held = self._stack.enter_context(_hold(family, (address[0], self.port, *address[2:])))
                self.port = int(held.getsockname()[1])
        except OSError as error:
            self.close()
            name = option.replace("_", "-")
            raise StartupError(
                f"cannot listen on {host}, port {port}: the port is taken, or the address does not belong to this "
                f"machine ({error.strerror}); choose another with --{name} or --{name.replace('port', 'host')}"
            ) from error

    def close(self) -> None:
        """Let others have the port."""
        self._stack.close()


def _hold(family: int, address: tuple[Any, ...]) -> socket.socket:
    """Return a bound socket that does not listen.

    A first socket listens for a moment, which only succeeds if no other socket has the port, listening or held; then
    the second one shares it, so that the port is never free in between. Without SO_REUSEADDR on the second one, no
    other socket can listen on the port, unless by SO_REUSEPORT and as the same user.
    """
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(_bound(family, address))
        first.listen(1)
        first.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        held = _bound(family, first.getsockname(), shared=True)
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
        return held


def _bound(family: int, address: tuple[Any, ...], *, shared: bool = False) -> socket.socket:
    with contextlib.ExitStack() as stack:
        made = stack.enter_context(socket.socket(family, socket.SOCK_STREAM))
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections that ended a minute ago do not matter
        if shared:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        made.bind(address)
        stack.pop_all()
        return made
