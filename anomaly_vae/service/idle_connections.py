"""Close idle connections when the service has nearly as many as it may have.

At its connection limit gRPC refuses new connections and closes none. Without this module, a peer that opens many
connections and makes no calls would lock out all others until keepalive finds that it does not answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import struct
import urllib.parse
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NamedTuple

from anomaly_vae.service.telemetry.logs import event

__all__ = ["close_idle_connections"]

_LOG = logging.getLogger("anomaly_vae.service")

_DESCRIPTORS = Path("/proc/self/fd")
_SECONDS_BETWEEN_CHECKS = 0.5  # chosen, not measured: a check lists the descriptors of the process

# Fractions of the limit. Above the first, idle connections are closed until the second is reached. Chosen, not
# measured: the gap of 15 % leaves room for the connections that arrive before the next check.
_HIGH, _LOW = 0.9, 0.75

# struct tcp_info of Linux (linux/tcp.h): 8 bytes, then 32-bit numbers. Number 11, counted from 0, is
# tcpi_last_data_recv: milliseconds since the peer last sent data.
_TCP_INFO = struct.Struct("8B24I")
_LAST_DATA_RECEIVED = 8 + 11
_MIN_IDLE_MS = 1_000  # a new connection gets this long to make a call; chosen, not measured

Address = tuple[str, int]


async def close_idle_connections(port: int, limit: int, busy: Collection[str]) -> None:
    """Close the connections that have been silent the longest, whenever the service has nearly ``limit`` of them.

    Connections with a call in progress stay. The loop ends only when its task is cancelled. On systems other than Linux
    it returns at once.

    Args:
        port: The port that the service listens on.
        limit: Most connections that the service may have.
        busy: The peers with a call in progress, as gRPC names them; read again at each check.
    """
    if not _DESCRIPTORS.is_dir():
        return
    while True:
        await asyncio.sleep(_SECONDS_BETWEEN_CHECKS)
        calling = {address_of(peer) for peer in tuple(busy)}
        closed = await asyncio.to_thread(_close_idle, port, limit, calling)
        if closed:
            text = "closed %d connections without a call, because nearly all %d connections were taken"
            _LOG.warning(text, closed, limit, extra=event("idle_connections_closed", connections=closed))


def address_of(peer: str) -> Address:
    """Parse a peer as gRPC names it: ``ipv4:127.0.0.1:40000``, ``ipv6:%5B::1%5D:40000``."""
    host, _, port = urllib.parse.unquote(peer).partition(":")[2].rpartition(":")
    return host.strip("[]"), int(port) if port.isdecimal() else 0


class _Idle(NamedTuple):
    silent_ms: int
    connection: socket.socket


def _close_idle(port: int, limit: int, calling: set[Address]) -> int:
    """Close idle connections if there are too many. Return how many were closed."""
    if len(os.listdir(_DESCRIPTORS)) <= _HIGH * limit:
        return 0
    with contextlib.ExitStack() as stack:
        connections = [(stack.enter_context(connection), peer) for connection, peer in _connections(port)]
        if len(connections) <= _HIGH * limit:
            return 0
        idle = [_Idle(_silent_ms(connection), connection) for connection, peer in connections if peer not in calling]
        idle = sorted((found for found in idle if found.silent_ms >= _MIN_IDLE_MS), reverse=True, key=lambda f: f[0])
        closing = idle[: len(connections) - int(_LOW * limit)]
        for found in closing:
            with contextlib.suppress(OSError):  # the peer closed it first
                found.connection.shutdown(socket.SHUT_RDWR)  # gRPC reads the end of the connection and frees it
        return len(closing)


def _connections(port: int) -> Iterator[tuple[socket.socket, Address]]:
    """Yield the connections of a port and their peers.

    The descriptors are duplicates, so that the kernel cannot give their numbers to other files in the meantime.
    """
    # A name without a link is the descriptor by which listdir read the folder. A duplicate may take its number.
    for name in [name for name in os.listdir(_DESCRIPTORS) if (_DESCRIPTORS / name).is_symlink()]:
        try:
            if not str((_DESCRIPTORS / name).readlink()).startswith("socket:"):
                continue
            found = socket.socket(fileno=os.dup(int(name)))
        except OSError:
            continue
        try:
            if found.family in (socket.AF_INET, socket.AF_INET6) and found.getsockname()[1] == port:
                host, peer_port = found.getpeername()[:2]
                yield found, (host.removeprefix("::ffff:"), peer_port)
                continue
        except OSError:  # the listening socket, or the peer is gone
            pass
        found.close()


def _silent_ms(connection: socket.socket) -> int:
    """Return the milliseconds since the peer last sent data; 0 if the kernel does not say."""
    try:
        info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO.size)
    except OSError:
        return 0
    return int(_TCP_INFO.unpack(info)[_LAST_DATA_RECEIVED])
