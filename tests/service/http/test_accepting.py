"""A listening socket accepts connections while it is started, also after the process ran out of descriptors."""

import asyncio
import contextlib
import socket

import pytest

from anomaly_vae.errors import StartupError
from anomaly_vae.service.http.accepting import Acceptor, listening_socket
from tests.support.contexts import settle


class Listener:
    """A socket that gives some connections, or errors, and then no more."""

    def __init__(self, *found):
        self.left = list(found)

    def accept(self):
        if not self.left:
            raise BlockingIOError
        found = self.left.pop(0)
        if isinstance(found, Exception):
            raise found
        return found


class Client:
    def setblocking(self, _):
        """Take it."""


async def until(condition):
    while not condition():
        await asyncio.sleep(0.01)


def test_connections_come_with_their_address_until_it_is_stopped():
    async def main():
        clients = []
        listener = listening_socket("127.0.0.1", 0, "tests")
        acceptor = Acceptor(listener, lambda client, address: clients.append((client, address)))
        address = listener.getsockname()
        with contextlib.closing(listener), socket.create_connection(address):
            await settle()
            assert clients == []
            acceptor.start()
            await asyncio.wait_for(until(lambda: clients), 30)
            acceptor.stop()
            with socket.create_connection(address):
                await settle()
        ((client, host),) = clients
        assert (host, client.getblocking()) == ("127.0.0.1", False)
        client.close()

    asyncio.run(main())


def test_without_descriptors_it_waits_and_tries_again(monkeypatch):
    async def main():
        clients, readers = [], []
        loop = asyncio.get_running_loop()
        monkeypatch.setattr(loop, "add_reader", lambda *_: readers.append("on"))
        monkeypatch.setattr(loop, "remove_reader", lambda *_: readers.append("off"))
        listener = Listener(OSError(24, "Too many open files"), (Client(), ("127.0.0.1", 1)))
        acceptor = Acceptor(listener, lambda *found: clients.append(found))
        acceptor.start()
        acceptor._accept()
        assert (readers, clients) == (["on", "off"], [])
        await asyncio.wait_for(until(lambda: readers == ["on", "off", "on"]), 30)
        acceptor._accept()
        assert len(clients) == 1

    asyncio.run(main())


@pytest.mark.parametrize("shared", [True, False])
def test_a_port_is_shared_only_by_those_that_say_so(shared):
    first = listening_socket("127.0.0.1", 0, "tests", reuse_port=True)
    port = first.getsockname()[1]
    with contextlib.closing(first):
        if shared:
            listening_socket("127.0.0.1", port, "tests", reuse_port=True).close()
        else:
            with pytest.raises(StartupError, match=f"cannot listen on 127.0.0.1, port {port}, for tests: Address"):
                listening_socket("127.0.0.1", port, "tests")
