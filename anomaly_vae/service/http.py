"""HTTP for probes and metrics, in threads of its own: it answers even while the event loop does not."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterable
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from prometheus_client import CollectorRegistry, make_wsgi_app

from anomaly_vae.errors import StartupError

__all__ = ["HttpServer"]

_SECONDS_PER_CONNECTION = 5.0
_MOST_CONNECTIONS = 128

Probe = Callable[[], tuple[bool, str]]


class _Handler(WSGIRequestHandler):
    def setup(self) -> None:
        super().setup()
        # For the whole connection: a timeout of the socket would start anew with every byte.
        self._hang_up = threading.Timer(_SECONDS_PER_CONNECTION, self._shut)
        self._hang_up.daemon = True
        self._hang_up.start()

    def finish(self) -> None:
        self._hang_up.cancel()
        super().finish()

    def _shut(self) -> None:
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, *_: Any) -> None:
        """Probes come every few seconds: nothing to log."""


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = _MOST_CONNECTIONS

    def __init__(self, address: tuple[str, int], family: socket.AddressFamily) -> None:
        self.address_family = family
        self._free = threading.BoundedSemaphore(_MOST_CONNECTIONS)
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        # The parent asks the resolver for the host's full name, which may take seconds.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = self.server_address[:2]  # type: ignore[assignment]
        self.setup_environ()

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up or sends no HTTP is its own affair."""


class HttpServer:
    """Answers /metrics, /livez and /readyz."""

    def __init__(self, host: str, port: int, registry: CollectorRegistry, *, alive: Probe, ready: Probe) -> None:
        """Listen at once.

        Args:
            host: Address to listen on.
            port: Port; 0 takes a free one.
            registry: What /metrics shows.
            alive: Whether this process works, and why not.
            ready: Whether rows can be scored, and why not.

        Raises:
            StartupError: The address cannot be listened on.
        """
        self._metrics = make_wsgi_app(registry)
        self._probes = {"/livez": alive, "/readyz": ready}
        try:
            family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
            self._server = _Server(address[:2], family)  # type: ignore[arg-type]
        except (OSError, UnicodeError) as error:
            reason = getattr(error, "strerror", None) or error
            raise StartupError(f"cannot listen on {host}, port {port}, for metrics: {reason}") from error
        self._server.set_app(self._answer)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), name="http", daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.server_port)

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _answer(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        method = environ["REQUEST_METHOD"]
        if method not in ("GET", "HEAD"):
            return _text(start_response, "405 Method Not Allowed", "use GET")
        body = self._body(environ | {"REQUEST_METHOD": "GET"}, start_response)
        return body if method == "GET" else []

    def _body(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        path = environ["PATH_INFO"]
        if path == "/metrics":
            return self._show(environ, start_response)
        if path not in self._probes:
            return _text(start_response, "404 Not Found", "see /metrics, /livez and /readyz")
        good, text = self._probes[path]()
        return _text(start_response, "200 OK" if good else "503 Service Unavailable", text)

    def _show(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        try:
            return list(self._metrics(environ, start_response))
        except (
            ValueError,
            TypeError,
            IndexError,
        ):  # the library fails on a version in Accept that is none: plain text, then
            return list(self._metrics(environ | {"HTTP_ACCEPT": ""}, start_response))


def _text(start_response: Callable[..., Any], status: str, text: str) -> list[bytes]:
    body = f"{text}\n".encode()
    start_response(status, [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body)))])
    return [body]
