"""The Open Inference Protocol over HTTP: its port, and what happens around every request."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING

import grpc

from anomaly_vae.service.call_errors import CallError, internal, invalid
from anomaly_vae.service.callers import NO_TOKEN
from anomaly_vae.service.models.control import ModelControl
from anomaly_vae.service.queue.shared_limit import SharedLimit
from anomaly_vae.service.rest.call import HttpCall
from anomaly_vae.service.rest.errors import HttpError, Reply, error_reply
from anomaly_vae.service.rest.exchange import Exchange
from anomaly_vae.service.rest.http_metrics import CLIENT_GONE, HttpMetrics
from anomaly_vae.service.rest.listener import RestListener
from anomaly_vae.service.rest.methods import JSON_LENGTH, RestMethods
from anomaly_vae.service.rest.routes import OTHER, Found, find
from anomaly_vae.service.rpc.inference_servicer import INFERENCE
from anomaly_vae.service.rpc.open_calls import OpenCalls
from anomaly_vae.service.scoring import Scoring, expiry
from anomaly_vae.service.settings import ServeConfig
from anomaly_vae.service.telemetry.logs import event
from anomaly_vae.service.telemetry.observer import Observer
from anomaly_vae.service.telemetry.records import HTTP, current_call, set_caller
from anomaly_vae.service.transport import max_http_connections

if TYPE_CHECKING:
    from anomaly_vae.service.access.tls import ServerCertificate  # imports cryptography, which plaintext does not need

__all__ = ["RestServer"]

_LOG = logging.getLogger("anomaly_vae.service")

_TIMEOUT_HEADER = "x-request-timeout"
_LONGEST_TIMEOUT = 86_400.0  # seconds; chosen, not measured
_RETRY_AFTER = 0.5  # seconds, while too many bytes are being read; chosen, not measured
# Probes of the protocol, which need no token, as grpc.health.v1 does not.
_PROBES = ("ServerLive", "ServerReady")
_CHANGES = ("RepositoryModelLoad", "RepositoryModelUnload")

Refuse = Callable[[str, Sequence[tuple[str, str]]], CallError | None]


class RestServer:
    """Answers requests over HTTP by the queue, limits, tokens, log and spans of gRPC."""

    def __init__(
        self,
        config: ServeConfig,
        scoring: Scoring,
        control: ModelControl,
        refuse: Refuse,
        calls: OpenCalls,
        observer: Observer,
        certificate: ServerCertificate | None = None,
    ) -> None:
        """Create the parts. Nothing listens yet. Needs a running event loop.

        Args:
            config: The settings, with an ``http_port``.
            scoring: The models and their queue.
            control: Changes the models.
            refuse: Given a method of gRPC and the headers, returns why a call is refused before its body is read.
            calls: The calls in progress.
            observer: Logs and traces calls.
            certificate: The server's certificate; None for plaintext.
        """
        self._config, self._scoring, self._refuse = config, scoring, refuse
        self._calls, self._observer = calls, observer
        self._metrics = HttpMetrics(scoring.metrics.registry)
        self._methods = RestMethods(scoring, control)
        self._reading = SharedLimit(config.queue_bytes, "bytes of bodies are being read")
        context = None if certificate is None else certificate.context
        self._listener = RestListener(self._answer, self._metrics.count_malformed, max_http_connections(), context)
        self.port = config.http_port or 0

    def start(self, *, reuse_port: bool = False) -> None:
        """Listen.

        Args:
            reuse_port: Whether other processes listen on the port as well.

        Raises:
            StartupError: The address cannot be listened on.
        """
        host = self._config.http_host
        self.port = self._listener.start(host, self.port, reuse_port=reuse_port)
        text = "the Open Inference Protocol over HTTP is on %s port %d"
        _LOG.info(text, host, self.port, extra=event("http_listening", http_host=host, http_port=self.port))

    def drain(self) -> None:
        """Close idle connections. Others are closed after their reply; new requests are refused by the queue."""
        self._listener.close_idle()

    def close(self) -> None:
        """Stop to listen, and close all connections."""
        self._listener.close()

    async def _answer(self, exchange: Exchange) -> None:
        """Reply to a request, count it, log it and trace it."""
        start = time.perf_counter()
        call = HttpCall(exchange.peer, exchange.headers)
        set_caller(NO_TOKEN)  # the connection may have had another request before
        found: Found | None = None
        refusal: CallError | None = None
        try:
            found = find(exchange.method, exchange.target)
            refusal = self._refusal(found, exchange)
        except CallError as error:
            refusal = error
        route = OTHER if found is None else found.route
        record = self._observer.begin(HTTP, route.method, route.template, call)
        code, record.http_code = grpc.StatusCode.CANCELLED, CLIENT_GONE
        try:
            try:
                reply = await self._reply(exchange, call, found, refusal)
                code, record.http_code = reply.code, int(reply.status)
            finally:  # before the reply is sent, as over gRPC: how fast a client reads does not count
                seconds = time.perf_counter() - start
                self._metrics.count(route, record.http_code, seconds)
                self._observer.end(record, code, seconds, call)
            self._calls.mark_replied(call)
            await exchange.send(reply, last=self._scoring.drained.is_set())
        finally:
            call.end()

    def _refusal(self, found: Found, exchange: Exchange) -> CallError | None:
        """Return why a request is refused before its body is read, or None."""
        if found.route.rpc in _PROBES:
            return None
        refusal = self._refuse(f"/{INFERENCE}/{found.route.rpc}", exchange.headers)
        if refusal is None and found.route.rpc in _CHANGES and any(name == "origin" for name, _ in exchange.headers):
            # Without tokens every caller on this machine may change models, and so may pages in its browser.
            text = "a page in a browser may not change models; send the request without the header Origin"
            return CallError(grpc.StatusCode.PERMISSION_DENIED, text)
        return refusal

    async def _reply(self, exchange: Exchange, call: HttpCall, found: Found | None, refusal: CallError | None) -> Reply:
        """Return the reply to a request, or to its error."""
        try:
            if found is None or refusal is not None:
                raise refusal or internal()
            seconds = _timeout_of(exchange)
            async with asyncio.timeout(seconds):
                return await self._answered(exchange, call, found, expiry(seconds))
        except TimeoutError:
            error = CallError(grpc.StatusCode.DEADLINE_EXCEEDED, "the deadline passed before the rows were scored")
        except CallError as raised:
            error = raised
        except Exception as raised:  # noqa: BLE001 (an error of the service itself, whatever it is)
            current_call().set_error(raised)
            error = internal()
        if error.code is grpc.StatusCode.DEADLINE_EXCEEDED:
            self._scoring.metrics.reject("deadline")
        return error_reply(error)

    async def _answered(self, exchange: Exchange, call: HttpCall, found: Found, expires: float) -> Reply:
        """Read the body of a request and do what it requests."""
        body = b""
        if found.route.method == "POST":
            _check_encoding(exchange)
            with self._room_for_body(exchange) as take:
                body = await exchange.body(self._config.max_message_bytes, take)
        error = self._calls.admit(call, always=found.route.rpc in _PROBES)
        if error is not None:
            raise error
        if found.route.rpc == "ModelInfer":
            return await self._methods.infer(found, body, exchange.header(JSON_LENGTH), expires)
        return await self._methods.ask(found, body, call)

    @contextlib.contextmanager
    def _room_for_body(self, exchange: Exchange) -> Iterator[Callable[[int], None]]:
        """Count the bytes of a body while it is read: many bodies that never end must not take all memory.

        Without tokens, all connections of an address count as one caller: opening more of them costs a client nothing.
        """
        caller = current_call().caller
        caller, held = exchange.address if caller == exchange.peer else caller, 0

        def take(num_bytes: int) -> None:
            nonlocal held
            text = self._reading.refusal(caller, num_bytes)
            if text is not None:
                self._scoring.metrics.reject("queue_full")
                raise CallError(grpc.StatusCode.RESOURCE_EXHAUSTED, text, retry_after=_RETRY_AFTER)
            self._reading.take(caller, num_bytes)
            held += num_bytes

        try:
            yield take
        finally:
            self._reading.give_back(caller, held)


def _timeout_of(exchange: Exchange) -> float | None:
    """Return the seconds that the client waits, or None."""
    text = exchange.header(_TIMEOUT_HEADER)
    if text is None:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0.0 < seconds <= _LONGEST_TIMEOUT:  # also refuses NaN
        raise invalid("X-Request-Timeout", f"is {text[:40]!r}, expected seconds above 0, at most {_LONGEST_TIMEOUT:g}")
    return seconds


def _check_encoding(exchange: Exchange) -> None:
    """Refuse compressed bodies: a few bytes could become many."""
    encoding = exchange.header("content-encoding") or "identity"
    if encoding.strip().lower() != "identity":
        raise HttpError(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            f"is {encoding[:40]!r}; send the body without compression",
            ("Accept-Encoding", "identity"),
            field="Content-Encoding",
        )
