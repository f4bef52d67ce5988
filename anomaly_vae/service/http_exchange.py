"""One HTTP request and its reply on a connection, by the rules that h11 knows."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass
from email.utils import formatdate
from http import HTTPStatus
from urllib.parse import unquote, urlsplit

import h11

__all__ = ["Exchange", "Reply", "Request", "text_reply"]

_MOST_HEADER_BYTES = 16_384
_BYTES_PER_READ = 4_096  # the headers may exceed their limit by one read
_BYTES_PER_READ_AFTER_THE_REPLY = 65_536
_MOST_READS_AFTER_THE_REPLY = 16
_NOT_HTTP = "not a request of HTTP/1.1; send GET /metrics, /livez or /readyz"


@dataclass(frozen=True)
class Request:
    """What was asked. Several headers of one name are joined by commas."""

    method: str
    path: str
    accept: str
    accept_encoding: str


@dataclass(frozen=True)
class Reply:
    """What to answer; the headers of framing are added when it is sent."""

    status: HTTPStatus
    headers: tuple[tuple[str, str], ...]
    body: bytes


def text_reply(status: HTTPStatus, text: str, *headers: tuple[str, str]) -> Reply:
    """A reply of one line of text."""
    return Reply(status, (("Content-Type", "text/plain; charset=utf-8"), *headers), f"{text}\n".encode())


class Exchange:
    """Reads one request and sends one reply. The caller bounds the time."""

    def __init__(self, client: socket.socket) -> None:
        """Nothing is read yet; the socket does not block."""
        self._client = client
        self._loop = asyncio.get_running_loop()
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=_MOST_HEADER_BYTES)
        self._without_body = False

    async def read(self) -> Request | Reply | None:
        """The request, what to reply if it is none, or None if the client has hung up.

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
            self._http.next_event()  # the end of a request without a body, after which nothing more comes
        except h11.RemoteProtocolError as error:
            status = HTTPStatus(error.error_status_hint)
            if status is HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE:
                return text_reply(status, f"the headers are longer than {_MOST_HEADER_BYTES} bytes")
            return text_reply(status, _NOT_HTTP)
        except ValueError:  # a target that is no URL
            return text_reply(HTTPStatus.BAD_REQUEST, _NOT_HTTP)
        return request

    async def send(self, reply: Reply) -> None:
        """Send a reply, without its body to HEAD.

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
    def more_may_come(self) -> bool:
        """Whether the client may still be sending its request."""
        return self._http.their_state is not h11.DONE

    async def read_the_rest(self) -> None:
        """Read what the client still sends: closing the connection before that could cost it the reply.

        Raises:
            OSError: The connection is broken.
        """
        self._client.shutdown(socket.SHUT_WR)
        for _ in range(_MOST_READS_AFTER_THE_REPLY):
            if not await self._loop.sock_recv(self._client, _BYTES_PER_READ_AFTER_THE_REPLY):
                return


def _request(event: h11.Request) -> Request:
    """What a request asks.

    Raises:
        ValueError: The target is no URL.
    """
    return Request(
        method=event.method.decode(),
        path=unquote(urlsplit(event.target.decode("latin-1")).path),
        accept=_header(event, b"accept"),
        accept_encoding=_header(event, b"accept-encoding"),
    )


def _header(event: h11.Request, name: bytes) -> str:
    return ",".join(value.decode("latin-1") for key, value in event.headers if key == name)
