"""A balancer of TCP connections, as a Kubernetes Service is: new connections go to the replicas that are ready."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import threading
import urllib.error
import urllib.request

__all__ = ["Balancer", "balancing"]

_LOOK_SECONDS = 0.25  # between two looks at /readyz


class Balancer:
    """Forwards connections in turn; connections that are open stay with their replica until it closes them.

    Attributes:
        port: Where it listens.
        replicas: Ports of gRPC and of /readyz; a test may replace an entry at any time.
    """

    def __init__(self, replicas):
        """Listen nowhere yet."""
        self.port, self.replicas = 0, replicas
        self._ready, self._turn = set(), itertools.count()
        self._started, self._loop, self._end = threading.Event(), None, None
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))

    def start(self):
        """Start, and wait until it listens."""
        self._thread.start()
        self._started.wait()

    def stop(self):
        """Close all connections."""
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join()

    async def _serve(self):
        self._loop, self._end = asyncio.get_running_loop(), asyncio.Event()
        looking = asyncio.create_task(self._look())
        server = await asyncio.start_server(self._forward, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._started.set()
        await self._end.wait()
        server.close()
        looking.cancel()

    async def _look(self):
        while True:
            replicas = list(self.replicas)
            ready = await asyncio.gather(*(asyncio.to_thread(_is_ready, look) for _, look in replicas))
            self._ready = {port for (port, _), is_ready in zip(replicas, ready, strict=True) if is_ready}
            await asyncio.sleep(_LOOK_SECONDS)

    async def _forward(self, reader, writer):
        # Cancelled when the balancer ends; asyncio logs it as an error otherwise.
        with contextlib.suppress(asyncio.CancelledError), contextlib.closing(writer):
            ports = sorted(self._ready)
            if not ports:
                return
            try:
                to = await asyncio.open_connection("127.0.0.1", ports[next(self._turn) % len(ports)])
            except OSError:  # it has ended since the last look
                return
            with contextlib.closing(to[1]):
                ways = [asyncio.create_task(_copy(reader, to[1])), asyncio.create_task(_copy(to[0], writer))]
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
                for way in ways:
                    way.cancel()


async def _copy(reader, writer):
    with contextlib.suppress(OSError):
        while data := await reader.read(2**16):
            writer.write(data)
            await writer.drain()


def _is_ready(port):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=1) as reply:
            return reply.status == 200
    except (urllib.error.URLError, OSError):
        return False


@contextlib.contextmanager
def balancing(replicas):
    """Run a balancer during the block."""
    balancer = Balancer(replicas)
    balancer.start()
    try:
        yield balancer
    finally:
        balancer.stop()
