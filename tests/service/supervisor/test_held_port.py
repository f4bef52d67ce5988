"""Who can listen on a held port."""

import errno
import socket

import pytest

from anomaly_vae.errors import StartupError
from anomaly_vae.service.supervisor.held_port import HeldPort


def listen(port, *options, host="127.0.0.1"):
    """Listen as gRPC does, with or without SO_REUSEPORT."""
    with socket.create_server((host, port), reuse_port=socket.SO_REUSEPORT in options):
        pass


def test_only_processes_that_share_by_so_reuseport_can_listen_on_it():
    held = HeldPort("127.0.0.1", 0)
    listen(held.port, socket.SO_REUSEPORT)
    with pytest.raises(OSError, match="in use") as refused:
        listen(held.port)
    assert refused.value.errno == errno.EADDRINUSE
    held.close()
    listen(held.port)


def test_no_connection_goes_to_the_holder():
    held = HeldPort("127.0.0.1", 0)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", held.port)).close()
    with socket.create_server(("127.0.0.1", held.port), reuse_port=True) as worker:
        for _ in range(20):
            with socket.create_connection(("127.0.0.1", held.port)):
                worker.accept()[0].close()
    held.close()


def test_a_port_that_another_holds_or_listens_on_is_refused():
    refused = pytest.raises(StartupError, match=r"port \d+: the port is taken.*--http-port or --http-host")
    held = HeldPort("127.0.0.1", 0)
    with refused:
        HeldPort("127.0.0.1", held.port, "http_port")
    with socket.create_server(("127.0.0.1", held.port), reuse_port=True):
        with refused:
            HeldPort("127.0.0.1", held.port, "http_port")
        held.close()
        with refused:  # a worker lives on without its supervisor
            HeldPort("127.0.0.1", held.port, "http_port")
    HeldPort("127.0.0.1", held.port).close()


def test_a_port_is_free_again_although_connections_to_it_have_just_ended():
    """The side that closes first keeps the port for a minute, in the state TIME_WAIT."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        client = socket.create_connection(("127.0.0.1", port))
        server.accept()[0].close()
        client.close()
    HeldPort("127.0.0.1", port).close()


def test_a_host_of_another_machine_is_refused():
    with pytest.raises(StartupError, match="does not belong to this machine"):
        HeldPort("192.0.2.1", 0)
