"""The port of HTTP: how many connections it has, and which of them make room."""

import asyncio
import http.client
import ssl
from types import SimpleNamespace

import pytest

from anomaly_vae.errors import StartupError
from anomaly_vae.service.access.certificates import read_key_pair
from anomaly_vae.service.access.ssl_context import server_context
from anomaly_vae.service.rest.errors import json_reply
from anomaly_vae.service.rest.listener import RestListener
from tests.service.rest.test_connection import GET, listening
from tests.support.certificates import Authority
from tests.support.rest import Wire, loop_in_thread
from tests.support.running import eventually


def test_at_the_limit_the_connection_that_is_idle_the_longest_makes_room():
    with listening(limit=3) as (answers, port, _), Wire(port) as oldest, Wire(port) as busy, Wire(port) as idle:
        oldest.send(GET % b"a")
        oldest.reply()
        busy.send(GET % b"slow")
        eventually(lambda: "/slow" in answers.begun)
        idle.send(GET % b"a")
        idle.reply()
        with Wire(port) as new:
            new.send(GET % b"b")
            assert new.reply()[2] == b'["/b",0,"http"]'
        assert oldest.is_closed()
        idle.send(GET % b"c")
        assert idle.reply()[0] == 200
        assert answers.cancelled == []


def test_a_body_that_does_not_come_makes_room_too():
    with listening(limit=1) as (answers, port, _), Wire(port) as trickling:
        trickling.send(b"PUT /put HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc")
        eventually(lambda: answers.begun == ["/put"])
        with Wire(port) as new:
            new.send(GET % b"b")
            assert new.reply()[0] == 200
        assert trickling.is_closed()


def test_a_handshake_that_does_not_come_makes_room_too(certificate):
    def make():
        listener = RestListener(Plain(), None, 1, lambda: certificate.server)
        listener.port = listener.start("127.0.0.1", 0, reuse_port=False)
        return listener

    with loop_in_thread(make) as (listener, _), Wire(listener.port) as silent:
        eventually(lambda: listener._handshakes)
        client = http.client.HTTPSConnection("127.0.0.1", listener.port, context=certificate.client, timeout=30)
        client.request("GET", "/a")
        assert client.getresponse().status == 200
        client.close()
        assert silent.is_closed()


def test_when_all_connections_are_busy_a_new_one_is_closed():
    with listening(limit=1) as (answers, port, _), Wire(port) as busy:
        busy.send(GET % b"slow")
        eventually(lambda: answers.begun == ["/slow"])
        with Wire(port) as new:
            assert new.is_closed()
        assert answers.cancelled == []


def test_closing_idle_connections_leaves_those_with_a_request():
    with listening() as (answers, port, listener), Wire(port) as busy, Wire(port) as idle:
        busy.send(GET % b"slow")
        eventually(lambda: answers.begun == ["/slow"])
        idle.send(GET % b"a")
        idle.reply()
        eventually(lambda: sum(each.is_idle for each in listener._connections) == 1)
        listener._loop.call_soon_threadsafe(listener.close_idle)
        assert idle.is_closed()
        assert answers.cancelled == []


def test_a_port_in_use_is_named():
    async def fail(port):
        RestListener(None, None, 1, None).start("127.0.0.1", port, reuse_port=False)

    with listening() as (_, port, _), pytest.raises(StartupError, match=f"port {port}, for HTTP: Address already"):
        asyncio.run(fail(port))


def test_two_may_share_a_port():
    def make():
        listener = RestListener(None, None, 1, None)
        listener.port = listener.start("127.0.0.1", 0, reuse_port=True)
        other = RestListener(None, None, 1, None)
        assert other.start("127.0.0.1", listener.port, reuse_port=True) == listener.port
        other.close()
        return listener

    with loop_in_thread(make):
        pass


def test_plaintext_to_a_port_of_tls_ends_that_connection_only(certificate):
    contexts = []

    def make():
        listener = RestListener(Plain(), None, 10, lambda: contexts.append(certificate.server) or certificate.server)
        listener.port = listener.start("127.0.0.1", 0, reuse_port=False)
        return listener

    with loop_in_thread(make) as (listener, _):
        with Wire(listener.port) as wire:
            wire.send(GET % b"a")
            assert wire.socket.recv(100)[:1] in (b"", b"\x15")  # nothing, or an alert of TLS
        client = http.client.HTTPSConnection("127.0.0.1", listener.port, context=certificate.client, timeout=30)
        client.request("GET", "/a")
        assert client.getresponse().read() == b'["/a"]'
        client.close()
    assert len(contexts) == 3  # at the start, and for each connection


class Plain:
    async def __call__(self, exchange):
        await exchange.send(json_reply([exchange.target]))


@pytest.fixture
def certificate(tmp_path):
    authority = Authority()
    key, chain = authority.issue()
    client = ssl.create_default_context(cadata=authority.pem.decode())
    return SimpleNamespace(server=server_context(read_key_pair(chain, key, tmp_path, tmp_path), None), client=client)
