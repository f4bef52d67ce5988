"""TLS for HTTP is made from memory, and asks clients for a certificate if it has authorities."""

import os
import socket
import ssl
import threading
from pathlib import Path

import pytest

from anomaly_vae.errors import StartupError
from anomaly_vae.service.access.certificates import read_key_pair
from anomaly_vae.service.access.ssl_context import server_context
from tests.support.certificates import Authority


@pytest.fixture(scope="module")
def authority():
    return Authority()


def made(authority, authorities=None):
    key, chain = authority.issue()
    return server_context(read_key_pair(chain, key, Path("chain"), Path("key")), authorities)


def handshake(server, client):
    """Return the version of TLS after a byte from the server."""
    ours, theirs = socket.socketpair()

    def serve():
        try:
            with server.wrap_socket(ours, server_side=True) as connection:
                connection.sendall(b"a")
        except OSError:
            ours.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with client.wrap_socket(theirs, server_hostname="localhost") as connection:
            assert connection.recv(1) == b"a"
            return connection.version(), connection.selected_alpn_protocol()
    finally:
        thread.join()


def test_a_client_that_trusts_the_authority_connects(authority):
    client = ssl.create_default_context(cadata=authority.pem.decode())
    client.set_alpn_protocols(["h2", "http/1.1"])
    assert handshake(made(authority), client) == ("TLSv1.3", "http/1.1")


def test_older_versions_of_tls_are_refused(authority):
    assert made(authority).minimum_version is ssl.TLSVersion.TLSv1_2


def test_clients_must_show_a_certificate_of_an_authority(authority, tmp_path):
    clients = Authority("clients")
    server = made(authority, clients.pem)
    client = ssl.create_default_context(cadata=authority.pem.decode())
    with pytest.raises((ssl.SSLError, ConnectionError, AssertionError)):
        handshake(server, client)
    for signer, good in ((clients, True), (authority, False)):
        key, chain = signer.issue("client")
        (tmp_path / "client.pem").write_bytes(key + chain)
        client = ssl.create_default_context(cadata=authority.pem.decode())
        client.load_cert_chain(tmp_path / "client.pem")
        if good:
            assert handshake(server, client)[0] == "TLSv1.3"
        else:
            with pytest.raises((ssl.SSLError, ConnectionError, AssertionError)):
                handshake(server, client)


def test_the_key_leaves_no_open_file(authority):
    before = os.listdir("/proc/self/fd")
    made(authority)
    assert len(os.listdir("/proc/self/fd")) == len(before)


def test_what_openssl_cannot_use_is_named_without_its_contents(authority):
    pair = read_key_pair(*reversed(authority.issue()), Path("chain"), Path("key"))
    with pytest.raises(StartupError, match="OpenSSL cannot use the TLS certificate or its key for HTTP") as caught:
        server_context(pair._replace(chain=b"-----BEGIN CERTIFICATE-----\nMTMzNw==\n-----END CERTIFICATE-----\n"), None)
    assert "MTMzNw" not in str(caught.value)
