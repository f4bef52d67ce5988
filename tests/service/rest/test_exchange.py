"""The body of a request is read within its limits; the reply is framed."""

import asyncio
from http import HTTPStatus

import h11
import pytest

from anomaly_vae.service.call_errors import CallError
from anomaly_vae.service.rest import exchange as exchange_module
from anomaly_vae.service.rest.errors import HttpError, json_reply
from anomaly_vae.service.rest.exchange import Exchange

HEAD = b"POST /v2 HTTP/1.1\r\nHost: a\r\n"


def nothing(_num_bytes):
    """There is room for everything."""


class Peer:
    """The connection of one exchange: ``later`` arrives when it is waited for, then nothing."""

    def __init__(self, now, *later):
        self.http, self.later, self.sent = h11.Connection(h11.SERVER), list(later), b""
        self.http.receive_data(now)
        self.exchange = Exchange(self.http, self.http.next_event(), self.next_event, self.send, ("::1", 7))

    async def next_event(self):
        while (found := self.http.next_event()) is h11.NEED_DATA:
            if not self.later:
                await asyncio.Event().wait()
            self.http.receive_data(self.later.pop(0))
        return found

    async def send(self, *parts):
        self.sent += b"".join(parts)

    def body(self, most=100, take=nothing):
        return asyncio.run(self.exchange.body(most, take))

    def fault(self, **options):
        with pytest.raises(CallError) as caught:
            self.body(**options)
        return caught.value


def test_a_body_arrives_in_parts():
    peer = Peer(HEAD + b"Content-Length: 10\r\nX-A: b\r\n\r\nabc", b"def", b"ghij")
    taken = []
    assert peer.body(take=taken.append) == b"abcdefghij"
    assert (peer.exchange.peer, peer.exchange.address) == ("http:[::1]:7", "::1")
    assert taken == [3, 3, 4]
    assert (peer.exchange.method, peer.exchange.target, peer.exchange.header("x-a")) == ("POST", "/v2", "b")


def test_a_body_may_be_chunked():
    assert Peer(HEAD + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;a=b\r\nde\r\n0\r\n\r\n").body() == b"abcde"


def test_a_client_that_waits_for_it_is_told_to_continue():
    peer = Peer(HEAD + b"Content-Length: 3\r\nExpect: 100-continue\r\n\r\n", b"abc")
    assert peer.body() == b"abc"
    assert peer.sent.startswith(b"HTTP/1.1 100 ")


@pytest.mark.parametrize("expect", [b"", b"Expect: 100-continue\r\n"])
def test_a_length_above_the_limit_is_refused_before_a_byte_is_read(expect):
    peer = Peer(HEAD + expect + b"Content-Length: 101\r\n\r\n")
    error = peer.fault()
    assert (error.status, error.field) == (HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "body")
    assert peer.sent == b""


def test_chunks_above_the_limit_are_refused_when_it_is_reached():
    peer = Peer(HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + 11 * b"a\r\n0123456789\r\n")
    assert peer.fault().status is HTTPStatus.REQUEST_ENTITY_TOO_LARGE


def test_a_body_without_room_is_refused():
    def full(num_bytes):
        raise HttpError(HTTPStatus.TOO_MANY_REQUESTS, f"no room for {num_bytes}")

    assert Peer(HEAD + b"Content-Length: 3\r\n\r\nabc").fault(take=full).text == "no room for 3"


def test_a_body_that_does_not_arrive_is_refused(monkeypatch):
    monkeypatch.setattr(exchange_module, "_BODY_S", 0.01)
    assert Peer(HEAD + b"Content-Length: 3\r\n\r\nab").fault().status is HTTPStatus.REQUEST_TIMEOUT


def test_a_broken_chunk_is_refused():
    peer = Peer(HEAD + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n")
    assert peer.fault().status is HTTPStatus.BAD_REQUEST


def test_a_header_given_twice_is_refused():
    peer = Peer(HEAD + b"X-A: b\r\nX-A: c\r\n\r\n")
    assert peer.exchange.header("x-b") is None
    with pytest.raises(HttpError, match="is given 2 times"):
        peer.exchange.header("x-a")


def sent(request, **options):
    peer = Peer(request)
    asyncio.run(peer.exchange.send(json_reply({"a": 1}), **options))
    return peer


def test_the_reply_has_a_length_and_keeps_the_connection():
    peer = sent(HEAD + b"Content-Length: 3\r\n\r\nabc")  # a body that is not read, but has arrived
    head, _, body = peer.sent.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"Content-Length: 7" in head
    assert b"Connection: close" not in head
    assert body == b'{"a":1}'
    assert (peer.http.our_state, peer.http.their_state) == (h11.DONE, h11.DONE)


@pytest.mark.parametrize(
    ("request_", "options"),
    [
        (HEAD + b"\r\n", {"last": True}),
        (HEAD + b"Content-Length: 3\r\n\r\nab", {}),
        (HEAD.replace(b"1.1", b"1.0") + b"\r\n", {}),
    ],
)
def test_the_last_reply_of_a_connection_says_so(request_, options):
    peer = sent(request_, **options)
    assert b"Connection: close\r\n" in peer.sent
    assert peer.http.our_state is h11.MUST_CLOSE


def test_a_reply_to_head_has_no_body():
    peer = sent(b"HEAD /v2 HTTP/1.1\r\nHost: a\r\n\r\n")
    assert peer.sent.endswith(b"\r\n\r\n")
    assert b"Content-Length: 7" in peer.sent


def test_a_large_reply_is_complete():
    peer = Peer(HEAD + b"\r\n")
    asyncio.run(peer.exchange.send(json_reply("a" * 200_000)))
    assert peer.sent.endswith(b'a"')
    assert len(peer.sent) > 200_000
