"""One request of HTTP/1.1 and its reply."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from email.utils import formatdate
from http import HTTPStatus
from typing import Any

import h11

from anomaly_vae.service.rest.errors import HttpError, Reply

__all__ = ["MAX_HEADER_BYTES", "Exchange"]

# Bytes of a request's head, as for the metadata of gRPC.
MAX_HEADER_BYTES = 16_384

_BODY_S = 60.0  # seconds for a body to arrive: 16 MiB at 2.2 Mbit/s; chosen, not measured
# Bytes of a body up to which it is copied behind its head, so that both are one write. Chosen, not measured.
_SMALL_BODY = 2**16


class Exchange:
    """A request, of which only the head is read yet, and the way to reply to it.

    Attributes:
        method: The method.
        target: The path with its query.
        headers: The headers in their order, with names in lower case.
        peer, address: The connection, and its host alone.
    """

    def __init__(
        self,
        http: h11.Connection,
        request: h11.Request | None,
        next_event: Callable[[], Awaitable[Any]],
        send: Callable[..., Awaitable[None]],
        address: tuple[str, int] = ("", 0),
    ) -> None:
        """Take what the connection has read.

        Args:
            http: The state of the connection.
            request: The head of the request; None if what arrived is none.
            next_event: Waits for the next event of ``http``.
            send: Sends bytes, and waits until they are sent.
            address: Host and port of the client.
        """
        self._http, self._next_event, self._send_bytes = http, next_event, send
        self.method = "" if request is None else request.method.decode()
        self.target = "" if request is None else request.target.decode()
        self.headers = [] if request is None else [(n.decode(), v.decode("latin-1")) for n, v in request.headers]
        self.address, port = address
        self.peer = f"http:[{self.address}]:{port}" if ":" in self.address else f"http:{self.address}:{port}"

    def header(self, name: str) -> str | None:
        """Return the value of a header; None if there is none.

        Raises:
            HttpError: There are several.
        """
        values = [value for key, value in self.headers if key == name]
        if len(values) > 1:
            raise HttpError(HTTPStatus.BAD_REQUEST, f"is given {len(values)} times, give it once", field=name)
        return values[0] if values else None

    async def body(self, most: int, take: Callable[[int], None]) -> bytes:
        """Read the body.

        Args:
            most: The most bytes that it may have.
            take: Called with the number of bytes of each part; raises CallError to refuse the request.

        Raises:
            HttpError: The body is too large, broken, or does not arrive in time.
        """
        length = self.header("content-length")
        if length is not None and int(length) > most:  # h11 has checked that it is a number
            raise _too_large(most)
        parts, total = [], 0
        try:
            async with asyncio.timeout(_BODY_S):
                if self._http.they_are_waiting_for_100_continue:
                    await self._send_bytes(self._http.send(h11.InformationalResponse(status_code=100, headers=[])))
                # A request without Content-Length, such as that of `curl -X POST`, has ended with its head.
                while self._http.their_state is h11.SEND_BODY and isinstance(
                    found := await self._next_event(), h11.Data
                ):
                    total += len(found.data)
                    if total > most:
                        raise _too_large(most)
                    take(len(found.data))
                    parts.append(bytes(found.data))
        except TimeoutError as error:
            raise HttpError(HTTPStatus.REQUEST_TIMEOUT, f"the body did not arrive within {_BODY_S:g} s") from error
        except h11.RemoteProtocolError as error:
            raise HttpError(HTTPStatus.BAD_REQUEST, "the body is not framed as HTTP/1.1 wants it") from error
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def send(self, reply: Reply, *, last: bool = False) -> None:
        """Send the reply, without its body if the request was HEAD. Return when it is sent.

        Args:
            reply: The reply.
            last: Whether the connection is closed afterwards.
        """
        self._skip_body()
        headers = [("Date", formatdate(usegmt=True)), *reply.headers, ("Content-Length", str(len(reply.body)))]
        if last or self._http.their_state not in (h11.DONE, h11.MUST_CLOSE):
            headers.append(("Connection", "close"))
        head = self._http.send(h11.Response(status_code=reply.status, reason=reply.status.phrase, headers=headers))
        body = b"" if self.method == "HEAD" else reply.body
        if body:
            self._http.send(h11.Data(data=body))
        self._http.send(h11.EndOfMessage())
        await self._send_bytes(*([head + body] if len(body) <= _SMALL_BODY else [head, body]))

    def _skip_body(self) -> None:
        """Drop a body that is not read, as far as it is here: after its end the connection may have another request."""
        with contextlib.suppress(h11.RemoteProtocolError):
            while self._http.their_state is h11.SEND_BODY and isinstance(self._http.next_event(), h11.Data):
                pass


def _too_large(most: int) -> HttpError:
    return HttpError(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"has more than {most} bytes; send fewer rows at a time", field="body"
    )
