"""One request and its reply on a pair of sockets, without a listener."""

import asyncio
import http.client
import io
import socket
from http import HTTPStatus

import pytest

from anomaly_vae.service.http.exchange import Exchange, Reply, Request, text_reply


def exchanged(data, reply=None):
    """Return what the exchange reads from these bytes, whether it is incomplete, and what it sends."""

    async def scenario():
        client, server = socket.socketpair()
        with client, server:
            client.settimeout(10)
            server.setblocking(False)
            sending = asyncio.create_task(asyncio.to_thread(client.sendall, data))
            exchange = Exchange(server)
            found = await asyncio.wait_for(exchange.read(), 10)
            incomplete = exchange.is_incomplete
            if reply is not None:
                await exchange.send(reply)
            server.shutdown(socket.SHUT_WR)
            sent = await asyncio.to_thread(lambda: b"".join(iter(lambda: client.recv(65_536), b"")))
            server.close()
            await asyncio.wait([sending])
            sending.exception()
            return found, incomplete, sent

    return asyncio.run(scenario())


def parsed(data, method="GET"):
    """Parse a reply by the client of the standard library."""

    class Raw:
        def makefile(self, *_):
            return io.BytesIO(data)

    reply = http.client.HTTPResponse(Raw(), method=method)
    reply.begin()
    return reply, reply.read()


def test_a_request_is_read_with_its_path_decoded_and_its_headers_joined():
    data = (
        b"GET /m%65trics?a=%62 HTTP/1.1\r\nHost: a\r\nAccept: text/plain\r\n"
        b"ACCEPT-encoding: gzip\r\naccept: */*;q=0.1\r\n\r\n"
    )
    found, incomplete, _ = exchanged(data)
    assert found == Request("GET", "/metrics", "text/plain,*/*;q=0.1", "gzip")
    assert not incomplete


@pytest.mark.parametrize(
    ("data", "status", "text"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400, b"not a request of HTTP/1.1"),
        (b"GET /livez\r\n\r\n", 400, b"send GET /metrics, /livez or /readyz"),
        (b"GET / HTTP/1.1\r\n\r\n", 400, b"not a request of HTTP/1.1"),
        (b"GET //[ HTTP/1.0\r\n\r\n", 400, b"not a request of HTTP/1.1"),
        (b"GET / HTTP/1.0\r\nX: " + b"a" * 21_000, 431, b"the headers are longer than 16384 bytes"),
    ],
)
def test_a_malformed_request_becomes_an_error_reply(data, status, text):
    found, _, _ = exchanged(data)
    assert isinstance(found, Reply)
    assert found.status == status
    assert text in found.body


@pytest.mark.parametrize(
    ("data", "incomplete"),
    [
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", False),
        (b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", False),
        (b"GET / HTTP/1.0\r\n\r\n", False),
        (b"POST / HTTP/1.0\r\nContent-Length: 3\r\n\r\nab", True),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", True),
    ],
)
def test_a_request_is_incomplete_until_its_body_is_read(data, incomplete):
    assert exchanged(data)[1] is incomplete


def test_a_client_that_closes_its_connection_sends_no_request():
    async def scenario():
        client, server = socket.socketpair()
        with server:
            server.setblocking(False)
            client.close()
            return await asyncio.wait_for(Exchange(server).read(), 10)

    assert asyncio.run(scenario()) is None


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_reply_has_its_length_its_headers_and_a_body_unless_the_method_is_head(method):
    reply = text_reply(HTTPStatus.SERVICE_UNAVAILABLE, "drain\u00e9", ("Retry-After", "1"))
    _, _, sent = exchanged(f"{method} /readyz HTTP/1.0\r\n\r\n".encode(), reply)
    found, body = parsed(sent, method)
    assert (found.status, found.reason) == (503, "Service Unavailable")
    assert found.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert found.headers["Retry-After"] == "1"
    assert found.headers["Connection"] == "close"
    assert int(found.headers["Content-Length"]) == len("drain\u00e9\n".encode())
    assert body == (b"" if method == "HEAD" else "drain\u00e9\n".encode())
    assert sent.endswith(b"\r\n\r\n" + body)


def test_the_rest_of_a_request_is_dropped_up_to_a_limit():
    """A client that never stops would otherwise keep the exchange busy for ever."""

    class Endless:
        """Has 64 KiB at each read, and counts them."""

        reads, shut = 0, None

        def shutdown(self, how):
            self.shut = how

    async def drained(pieces):
        client, exchange = Endless(), None

        async def sock_recv(_client, num_bytes):
            client.reads += 1
            return bytes(num_bytes) if client.reads <= pieces else b""

        exchange = Exchange(client)
        exchange._loop = type("Loop", (), {"sock_recv": staticmethod(sock_recv)})
        await exchange.drain()
        assert client.shut == socket.SHUT_WR
        return client.reads

    assert asyncio.run(drained(3)) == 4
    assert asyncio.run(drained(10**6)) == 16
