"""A request over HTTP as a call of gRPC, for what both have in common: limits of calls, log and spans."""

from __future__ import annotations

from collections.abc import Callable, Sequence

__all__ = ["HttpCall"]


class HttpCall:
    """What the service uses of ``grpc.aio.ServicerContext``."""

    def __init__(self, peer: str, headers: Sequence[tuple[str, str]], expires_in: float | None = None) -> None:
        """Begin a call.

        Args:
            peer: The connection, as gRPC names it.
            headers: Names in lower case, and values.
            expires_in: Seconds until the caller stops waiting; None for never.
        """
        self._peer, self._headers, self._expires_in = peer, headers, expires_in
        self._callbacks: list[Callable[[HttpCall], None]] = []

    def peer(self) -> str:
        """Return the connection."""
        return self._peer

    def invocation_metadata(self) -> Sequence[tuple[str, str]]:
        """Return the headers."""
        return self._headers

    def add_done_callback(self, callback: Callable[[HttpCall], None]) -> None:
        """Call a function when the reply is sent, or the caller has gone."""
        self._callbacks.append(callback)

    def end(self) -> None:
        """Call these functions."""
        for callback in self._callbacks:
            callback(self)
        self._callbacks.clear()
