"""Connections without a call are closed when nearly all connections are taken."""

import contextlib
import socket
import sys

import pytest

from anomaly_vae.service import idle_connections
from anomaly_vae.service.idle_connections import address_of

LIMIT = 20  # idle ones are closed from 19 connections on, until 15 are left


def test_a_peer_name_is_parsed_to_address_and_port():
    assert address_of("ipv4:127.0.0.1:40000") == ("127.0.0.1", 40_000)
    assert address_of("ipv6:%5B::1%5D:40001") == ("::1", 40_001)
    assert address_of("unix:/a/socket") == ("", 0)


@contextlib.contextmanager
def connected(number):
    """Yield a port of this process and its clients, oldest first."""
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        port, clients = server.getsockname()[1], []
        for _ in range(number):
            clients.append(stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=10)))
            stack.enter_context(server.accept()[0])
        yield port, clients


def is_closed(client):
    client.settimeout(0.0)
    try:
        return client.recv(1) == b""
    except BlockingIOError:
        return False


@pytest.fixture
def silence(monkeypatch):
    """Milliseconds of silence by the client's port; without one a connection has sent data just now."""
    found = {}
    monkeypatch.setattr(idle_connections, "_silent_ms", lambda one: found.get(one.getpeername()[1], 0))
    return found


linux = pytest.mark.skipif(sys.platform != "linux", reason="descriptors are listed in /proc")


@linux
def test_each_connection_is_found_once_with_its_peer():
    """To list the descriptors takes one, whose number a duplicate of a connection may take."""
    with connected(5) as (port, clients):
        found = []
        with contextlib.ExitStack() as stack:
            for connection, peer in idle_connections._connections(port):
                stack.enter_context(connection)
                found.append(peer)
        assert sorted(found) == sorted(client.getsockname() for client in clients)


@linux
def test_the_connections_that_are_silent_the_longest_are_closed_until_three_quarters_are_left(silence):
    """One with a call stays, and so does one that is silent for less than a second."""
    with connected(19) as (port, clients):
        ports = [client.getsockname()[1] for client in clients]
        silence |= {number: 10_000 - i for i, number in enumerate(ports)}
        silence[ports[0]] = 999
        calling = {("127.0.0.1", ports[1])}
        assert idle_connections._close_idle(port, LIMIT, calling) == 4
        assert [is_closed(client) for client in clients] == [False] * 2 + [True] * 4 + [False] * 13


@linux
def test_connections_that_are_few_or_have_spoken_just_now_stay(silence):
    with connected(19) as (port, clients):
        assert idle_connections._close_idle(port, LIMIT, set()) == 0
        silence |= {client.getsockname()[1]: 10_000 for client in clients}
        assert idle_connections._close_idle(port, LIMIT + 2, set()) == 0
        with socket.create_server(("127.0.0.1", 0)) as other:  # the connections of another port are not its own
            assert idle_connections._close_idle(other.getsockname()[1], LIMIT, set()) == 0
        assert not any(is_closed(client) for client in clients)


@linux
def test_the_kernel_says_how_long_a_connection_is_silent():
    """A connection that has just sent data is silent for less than a minute; 0 stands for no answer of the kernel."""
    with connected(1) as (port, (client,)):
        client.sendall(b"a")
        for connection, peer in idle_connections._connections(port):
            with connection:
                assert peer == client.getsockname()
                assert connection.recv(1) == b"a"
                assert 0 <= idle_connections._silent_ms(connection) < 60_000
    one, other = socket.socketpair()
    with one as no_tcp, other:
        assert idle_connections._silent_ms(no_tcp) == 0
