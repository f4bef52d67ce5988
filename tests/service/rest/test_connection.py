"""One connection: requests one after the other, time limits, and peers that go or do not behave."""

import asyncio
import contextlib
from http import HTTPStatus

import pytest

from anomaly_vae.service.rest import connection as connection_module
from anomaly_vae.service.rest.errors import json_reply
from anomaly_vae.service.rest.listener import RestListener
from tests.support.rest import Wire, loop_in_thread
from tests.support.running import eventually

GET = b"GET /%b HTTP/1.1\r\nHost: a\r\n\r\n"


class Answers:
    """Answers each request with its path, /slow never."""

    def __init__(self):
        self.begun, self.cancelled, self.refused = [], [], []

    async def __call__(self, exchange):
        self.begun.append(exchange.target)
        try:
            if exchange.target == "/slow":
                await asyncio.Event().wait()
            body = await exchange.body(10**8, lambda _: None) if exchange.method == "PUT" else b""
        except asyncio.CancelledError:
            self.cancelled.append(exchange.target)
            raise
        size = 10**8 if exchange.target == "/huge" else 1
        await exchange.send(json_reply([exchange.target, len(body), exchange.peer.split(":")[0]] * size))


@contextlib.contextmanager
def listening(answers=None, limit=100):
    answers = answers or Answers()
    ports = []

    def make():
        listener = RestListener(answers, answers.refused.append, limit, None)
        ports.append(listener.start("127.0.0.1", 0, reuse_port=False))
        return listener

    with loop_in_thread(make) as (listener, _):
        yield answers, ports[0], listener


@pytest.fixture(scope="module")
def server():
    with listening() as (answers, port, _):
        yield answers, port


def test_a_request_without_a_length_has_no_body(server):
    with Wire(server[1]) as wire:
        for _ in range(2):
            wire.send(b"PUT /a HTTP/1.1\r\nHost: a\r\n\r\n")
            assert wire.reply()[2] == b'["/a",0,"http"]'


def test_requests_on_one_connection_are_answered_in_order(server):
    with Wire(server[1]) as wire:
        for name in (b"a", b"b"):
            wire.send(GET % name)
            assert wire.reply()[2] == b'["/%b",0,"http"]' % name


def test_requests_that_arrive_together_are_answered_in_order(server):
    with Wire(server[1]) as wire:
        put = b"PUT /put HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
        wire.send((GET % b"a" + put) * 50)
        for _ in range(50):
            assert wire.reply()[2] == b'["/a",0,"http"]'
            assert wire.reply()[2] == b'["/put",3,"http"]'


def test_an_offer_of_another_protocol_is_not_taken(server):
    """curl --http2 makes it."""
    offer = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"
    with Wire(server[1]) as wire:
        wire.send(b"PUT /put HTTP/1.1\r\nHost: a\r\n" + offer + b"Content-Length: 3\r\n\r\nabc")
        assert wire.reply()[2] == b'["/put",3,"http"]'


def test_a_client_that_sends_far_ahead_is_not_read_until_it_gets_its_replies():
    with listening() as (answers, port, _), Wire(port) as wire:
        wire.send(GET % b"slow")
        eventually(lambda: answers.begun == ["/slow"])
        wire.socket.settimeout(1.0)  # of each send: then the buffers of the kernel are full
        with pytest.raises(TimeoutError):
            assert all(wire.socket.send(bytes(2**16)) for _ in range(1_000))


def test_a_client_that_goes_cancels_its_request(server):
    answers, port = server
    with Wire(port) as wire:
        wire.send(GET % b"slow")
        eventually(lambda: "/slow" in answers.begun)
    eventually(lambda: answers.cancelled == ["/slow"])


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # TLS
        b"GET / HTTP/1.1\r\n\r\n",  # no host
        b"GET /\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: \x00\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost : a\r\n\r\n",
    ],
)
def test_what_is_no_request_is_refused_and_counted(server, data):
    answers, port = server
    answers.refused.clear()
    with Wire(port) as wire:
        wire.send(data)
        status, headers, body = wire.reply()
        assert status in (400, 501)
        assert (headers["Connection"], b'"error"' in body) == ("close", True)
        assert wire.is_closed()
    assert answers.refused == [status]


def test_a_head_that_is_too_long_is_refused(server):
    with Wire(server[1]) as wire:
        wire.send(b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 20_000)
        assert wire.reply()[0] == 431
        assert wire.is_closed()


def test_a_head_that_is_not_finished_in_time_is_refused(monkeypatch):
    monkeypatch.setattr(connection_module, "_HEAD_S", 0.2)
    with listening() as (answers, port, _), Wire(port) as wire:
        wire.send(b"GET / HTTP/1.1\r\nHost:")
        assert wire.reply()[0] == 408
        assert wire.is_closed()
        assert answers.refused == [HTTPStatus.REQUEST_TIMEOUT]


@pytest.mark.parametrize("first", [True, False])
def test_a_silent_connection_is_closed_without_a_word(monkeypatch, first):
    monkeypatch.setattr(connection_module, "_HEAD_S" if first else "_IDLE_S", 0.2)
    with listening() as (answers, port, _), Wire(port) as wire:
        if not first:
            wire.send(GET % b"a")
            wire.reply()
        assert wire.is_closed()
        assert answers.refused == []


def test_the_rest_of_a_refused_request_is_dropped_so_that_the_reply_arrives(server):
    """/a answers without reading the body. A closed socket with unread bytes would send a reset."""
    with Wire(server[1]) as wire:
        wire.send(b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 500000\r\n\r\n" + b"a" * 400_000)
        status, headers, _ = wire.reply()
        assert (status, headers["Connection"]) == (200, "close")
        wire.send(b"a" * 100)
        assert wire.is_closed()


def test_no_more_than_a_limit_is_dropped(monkeypatch):
    monkeypatch.setattr(connection_module, "_LINGER_S", 3_600.0)
    with listening() as (_, port, _), Wire(port) as wire:
        wire.send(b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 500000000\r\n\r\n")
        wire.reply()
        with pytest.raises(ConnectionError):
            wire.send(bytes(2 * 10**8))


def test_a_fault_is_logged_and_ends_its_connection_only(caplog):
    class Faulty(Answers):
        async def __call__(self, _exchange):
            raise MemoryError("31337")

    with listening(Faulty()) as (_, port, _):
        for _ in range(2):
            with Wire(port) as wire:
                wire.send(GET % b"a")
                assert wire.is_closed()
    assert [record.message for record in caplog.records] == ["HTTP failed with MemoryError"] * 2
