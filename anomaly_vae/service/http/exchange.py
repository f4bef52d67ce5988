"""One HTTP/1.1 request and its reply on a connection. h11 parses and frames the messages."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass
from email.utils import formatdate
from http import HTTPStatus
from urllib.parse import unquote, urlsplit

import h11

__all__ = ["Exchange", "Reply", "Request", "text_reply"]

# Bytes. Chosen, not measured: twice what most HTTP servers allow, far above what a probe or a scraper sends.
_MAX_HEADER_BYTES = 16_384
_BYTES_PER_READ = 4_096  # the headers may exceed their limit by at most one read

# Chosen, not measured: after the reply, up to 16 x 64 KiB = 1 MiB of the request is read and dropped.
_BYTES_PER_DRAIN_READ = 65_536
_MAX_DRAIN_READS = 16

_NOT_HTTP = "not a request of HTTP/1.1; send GET /metrics, /livez or /readyz"


@dataclass(frozen=True)
class Request:
    """The parts of a request that the listener uses. Headers of the same name are joined by commas."""

    method: str
    path: str
    accept: str
    accept_encoding: str


@dataclass(frozen=True)
class Reply:
    """A reply without its framing headers, which :meth:`Exchange.send` adds."""

    status: HTTPStatus
    headers: tuple[tuple[str, str], ...]
    body: bytes


def text_reply(status: HTTPStatus, text: str, *headers: tuple[str, str]) -> Reply:
    """Return a reply with one line of text."""
    return Reply(status, (("Content-Type", "text/plain; charset=utf-8"), *headers), f"{text}\n".encode())


class Exchange:
    """Reads one request and sends one reply. The caller sets the timeout."""

    def __init__(self, client: socket.socket) -> None:
        """Take a non-blocking socket. Nothing is read yet."""
        self._client = client
        self._loop = asyncio.get_running_loop()
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=_MAX_HEADER_BYTES)
        self._without_body = False

    async def read(self) -> Request | Reply | None:
        """Return the request, an error reply if it is malformed, or None if the client closed the connection.

        Raises:
            OSError: The connection is broken.
        """
        try:
            event = self._http.next_event()
            while event is h11.NEED_DATA:
                self._http.receive_data(await self._loop.sock_recv(self._client, _BYTES_PER_READ))
                event = self._http.next_event()
            if not isinstance(event, h11.Request):
                return None
            request = _request(event)
            self._without_body = request.method == "HEAD"
            self._http.next_event()  # marks a request without a body as complete, see is_incomplete
        except h11.RemoteProtocolError as error:
            status = HTTPStatus(error.error_status_hint)
            if status is HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE:
                return text_reply(status, f"the headers are longer than {_MAX_HEADER_BYTES} bytes")
            return text_reply(status, _NOT_HTTP)
        except ValueError:  # the target is not a URL
            return text_reply(HTTPStatus.BAD_REQUEST, _NOT_HTTP)
        return request

    async def send(self, reply: Reply) -> None:
        """Send a reply, without its body if the request was HEAD.

        Raises:
            OSError: The connection is broken.
        """
        headers = [
            ("Date", formatdate(usegmt=True)),
            *reply.headers,
            ("Content-Length", str(len(reply.body))),
            ("Connection", "close"),
        ]
        response = h11.Response(status_code=reply.status, reason=reply.status.phrase, headers=headers)
        head = self._http.send(response) or b""
        await self._loop.sock_sendall(self._client, head)
        if not self._without_body:
            await self._loop.sock_sendall(self._client, reply.body)

    @property
    def is_incomplete(self) -> bool:
        """Whether the client may still be sending its request."""
        return self._http.their_state not in (h11.DONE, h11.MUST_CLOSE)

    async def drain(self) -> None:
        """Read and drop the rest of the request, up to 1 MiB.

        If a socket is closed with unread data, the kernel sends a reset and the client may lose the reply.

        Raises:
            OSError: The connection is broken.
        """
        self._client.shutdown(socket.SHUT_WR)
        for _ in range(_MAX_DRAIN_READS):
            if not await self._loop.sock_recv(self._client, _BYTES_PER_DRAIN_READ):
                return


def _request(event: h11.Request) -> Request:
    """Convert the request of h11. Raise ValueError if its target is not a URL."""
    return Request(
        method=event.method.decode(),
        path=unquote(urlsplit(event.target.decode("latin-1")).path),
        accept=_header(event, b"accept"),
        accept_encoding=_header(event, b"accept-encoding"),
    )


def _header(event: h11.Request, name: bytes) -> str:
    return ",".join(value.decode("latin-1") for key, value in event.headers if key == name)
