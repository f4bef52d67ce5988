"""Connections without a call give way when there are nearly as many as the service may have.

gRPC refuses new connections at its limit and has no rule for who leaves. A peer that opens connections and then says
nothing would hold out everyone else until keepalive finds that it does not answer.
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

from anomaly_vae.service.logs import event

__all__ = ["make_room"]

_LOG = logging.getLogger("anomaly_vae.service")

_DESCRIPTORS = Path("/proc/self/fd")
_SECONDS_BETWEEN_LOOKS = 0.5
_CROWDED, _RELIEVED = 0.9, 0.75  # parts of the limit: above the first connections are closed, down to the second

# struct tcp_info of Linux: eight bytes, then 32-bit numbers, of which the twelfth is tcpi_last_data_recv.
_TCP_INFO = struct.Struct("8B24I")
_LAST_DATA_RECEIVED = 8 + 11
_LEAST_IDLE_MS = 1_000  # a connection that was just made may be about to call

Address = tuple[str, int]


async def make_room(port: int, limit: int, busy: Collection[str]) -> None:
    """For ever, close what has been silent the longest, without a call, while connections are many.

    Args:
        port: Where the service listens.
        limit: Most connections it may have.
        busy: The peers with a call under way, as gRPC names them; read at each look.
    """
    if not _DESCRIPTORS.is_dir():  # other systems than Linux
        return
    while True:
        await asyncio.sleep(_SECONDS_BETWEEN_LOOKS)
        calling = {address_of(peer) for peer in tuple(busy)}
        closed = await asyncio.to_thread(_close_idle, port, limit, calling)
        if closed:
            text = "%d connections without a call were closed: there were nearly as many as may be, %d"
            _LOG.warning(text, closed, limit, extra=event("idle_connections_closed", connections=closed))


def address_of(peer: str) -> Address:
    """Host and port of a peer as gRPC names it: ``ipv4:127.0.0.1:40000``, ``ipv6:%5B::1%5D:40000``."""
    host, _, port = urllib.parse.unquote(peer).partition(":")[2].rpartition(":")
    return host.strip("[]"), int(port) if port.isdecimal() else 0


class _Found(NamedTuple):
    silent_ms: int
    handle: socket.socket


def _close_idle(port: int, limit: int, calling: set[Address]) -> int:
    """Close idle connections if there are too many; how many were closed."""
    if len(os.listdir(_DESCRIPTORS)) <= _CROWDED * limit:
        return 0
    with contextlib.ExitStack() as stack:
        connections = [(stack.enter_context(found), peer) for found, peer in _connections(port)]
        if len(connections) <= _CROWDED * limit:
            return 0
        idle = [_Found(_silent_ms(found), found) for found, peer in connections if peer not in calling]
        idle = sorted((found for found in idle if found.silent_ms >= _LEAST_IDLE_MS), reverse=True, key=lambda f: f[0])
        leaving = idle[: len(connections) - int(_RELIEVED * limit)]
        for found in leaving:
            with contextlib.suppress(OSError):  # it has gone by itself
                found.handle.shutdown(socket.SHUT_RDWR)  # gRPC reads the end, and forgets it
        return len(leaving)


def _connections(port: int) -> Iterator[tuple[socket.socket, Address]]:
    """The connections of a port, by descriptors of our own, so that no other file can take their place meanwhile."""
    for name in os.listdir(_DESCRIPTORS):
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
        except OSError:  # it listens, or its peer has gone
            pass
        found.close()


def _silent_ms(found: socket.socket) -> int:
    """Milliseconds since a peer has sent anything."""
    try:
        info = found.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO.size)
    except OSError:
        return 0
    return int(_TCP_INFO.unpack(info)[_LAST_DATA_RECEIVED])
