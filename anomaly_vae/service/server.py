"""The service process: listen, load the model, serve, drain."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable

import grpc
from grpc_health.v1 import health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from anomaly_vae.density.blocks import default_threads
from anomaly_vae.errors import StartupError
from anomaly_vae.service.access.credentials import certificate_of, tokens_of
from anomaly_vae.service.access.gate import Gate
from anomaly_vae.service.http.heartbeat import Heartbeat
from anomaly_vae.service.http.listener import HttpListener
from anomaly_vae.service.idle_connections import close_idle_connections
from anomaly_vae.service.models.catalogue import Catalogue
from anomaly_vae.service.models.library import Library
from anomaly_vae.service.peers import Alone, Peers
from anomaly_vae.service.process import set_at_signals, shorten_switch_interval, tune_garbage_collector
from anomaly_vae.service.rest.server import RestServer
from anomaly_vae.service.rpc.arrivals import Arrivals
from anomaly_vae.service.rpc.health import HEALTH, Health
from anomaly_vae.service.rpc.inference_servicer import INFERENCE, METHODS, InferenceServicer
from anomaly_vae.service.rpc.interceptor import CallInterceptor
from anomaly_vae.service.rpc.open_calls import OpenCalls
from anomaly_vae.service.rpc.scoring_servicer import SERVICE, ScoringServicer
from anomaly_vae.service.scoring import Scoring
from anomaly_vae.service.settings import ServeConfig
from anomaly_vae.service.start_log import log_start
from anomaly_vae.service.telemetry.call_log import CallLog
from anomaly_vae.service.telemetry.logs import event, show_lost_lines
from anomaly_vae.service.telemetry.metrics import Metrics
from anomaly_vae.service.telemetry.observer import Observer
from anomaly_vae.service.telemetry.tracer import make_tracer
from anomaly_vae.service.transport import max_connections, server_options

__all__ = ["Server", "serve", "serve_until"]

_LOG = logging.getLogger("anomaly_vae.service")

# Seconds, chosen, not measured.
_HANDOVER_S = 0.1  # for calls that gRPC has accepted but not yet handed to Python
_CUT_OFF_REPLIES_S = 1.0  # for sending the errors of calls that were cut off
_GRPC_STOP_S = 2.0  # for calls whose message has not arrived
_LAST_SPANS_S = 0.5  # the least time for sending the last spans, if the grace is used up


class Server:
    """Serves models over gRPC and HTTP, with probes and metrics on another port."""

    def __init__(self, config: ServeConfig, peers: Peers | None = None) -> None:
        """Create the parts. Nothing listens yet. Needs a running event loop.

        Args:
            config: The settings.
            peers: The workers that serve the same port; None if this process serves alone.

        Raises:
            StartupError: A certificate or token file cannot be used.
            ConfigError: The public key or the URL of the models cannot be used.
        """
        self._certificate, tokens = certificate_of(config), tokens_of(config)
        self.config = config
        self.peers = peers or Alone()
        self._threads = config.threads or default_threads()
        self.metrics = Metrics(config.max_queue_rows, config.queue_bytes, config.max_queue_seconds)
        show_lost_lines(self.metrics.registry)
        if self._certificate is not None:
            self._certificate.show_expiry(self.metrics.registry)
        self._loop = asyncio.get_running_loop()
        self.heartbeat = Heartbeat(self._loop)
        self._scoring = Scoring(config, self.metrics, self._threads)
        self.library = Library(config, self.peers, self._threads, self.metrics.changes, self._scoring.serve)
        self._health = Health((SERVICE, INFERENCE))
        self._tracer = make_tracer(config.otlp_endpoint)
        self._call_log = CallLog(config.log_calls)
        observer = Observer(self._call_log, self._tracer)
        streams = {f"/{SERVICE}/ScoreStream", f"/{INFERENCE}/ModelStreamInfer"}
        self._calls = OpenCalls(config.max_calls, self.metrics)
        self._arrivals = Arrivals(config.stream_idle)
        if tokens is not None:
            self.metrics.callers.know(tokens.callers)
        # Health checks are always allowed.
        self._gate = Gate(tokens, self.metrics, self._calls.too_many, always=(f"/{HEALTH}/",))
        interceptor = CallInterceptor(self._calls, self._arrivals, self.metrics, self._gate.refuse, streams, observer)
        self._grpc = grpc.aio.server(interceptors=[interceptor], options=server_options(config))
        self._http: HttpListener | None = None
        self.rest: RestServer | None = None
        if config.http_port is not None:
            control, refuse = self.library.control, self._gate.refuse
            self.rest = RestServer(config, self._scoring, control, refuse, self._calls, observer, self._certificate)
        self._watching: list[asyncio.Task[None]] = []
        self.port = config.port

    @property
    def metrics_port(self) -> int:
        """The port of HTTP."""
        return self.config.metrics_port if self._http is None else self._http.port

    async def start(self) -> None:
        """Listen on both ports. Health is NOT_SERVING until the model is loaded.

        One of several workers does not listen yet: clients are better served by the others while it loads its model.

        Raises:
            StartupError: A port is taken, or an address does not belong to this machine.
        """
        config, registry = self.config, self.metrics.registry
        if config.workers == 1:
            self._http = HttpListener(
                config.metrics_host, config.metrics_port, registry, alive=self.heartbeat.check, ready=self._ready
            )
            await self.listen()

    async def listen(self) -> None:
        """Listen on the port of gRPC; raise as :meth:`start`."""
        config = self.config
        self._add_services()
        self.port = self._add_port()
        await self._grpc.start()
        if self.rest is not None:
            self.rest.start(reuse_port=config.workers > 1)
        most = max_connections(with_http=self.rest is not None)
        self._watching += [
            asyncio.create_task(self._calls.cancel_unread_replies(config.reply_timeout)),
            asyncio.create_task(self._arrivals.cancel_late()),
            asyncio.create_task(close_idle_connections(self.port, most, self._calls.peers)),
        ]

    def _add_services(self) -> None:
        inference = InferenceServicer(self._scoring, self.library.control)
        handlers = ScoringServicer(self._scoring).handlers(), inference.handlers()
        self._grpc.add_generic_rpc_handlers(handlers)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._grpc)
        reflection.enable_server_reflection((SERVICE, INFERENCE, HEALTH, reflection.SERVICE_NAME), self._grpc)
        methods = (("unary", "Score"), ("bidi_stream", "ScoreStream"), ("unary", "GetModel"))
        self.metrics.show_methods((kind, SERVICE, method) for kind, method in methods)
        self.metrics.show_methods((kind, INFERENCE, method) for kind, method in METHODS)

    def _add_port(self) -> int:
        host, port = self.config.host, self.config.port
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        try:
            if self._certificate is None:
                return int(self._grpc.add_insecure_port(address))
            return int(self._grpc.add_secure_port(address, self._certificate.credentials()))
        except RuntimeError as error:
            other = "" if self._certificate is None else ", or gRPC cannot use the certificate"
            raise StartupError(
                f"cannot listen on {host}, port {port}: the port is taken, or the address does not belong to this "
                f"machine{other}; choose another with --port or --host"
            ) from error

    async def load(self) -> None:
        """Load and check the models, set health to SERVING, and look for further versions from now on.

        Raises:
            AnomalyVaeError: No model can be served.
        """
        await self.library.start()
        self._health.set_serving(True)
        self._watching.append(asyncio.create_task(self.library.watch()))

    @property
    def http_port(self) -> int | None:
        """The port of the Open Inference Protocol over HTTP; None without it."""
        return None if self.rest is None else self.rest.port

    @property
    def served(self) -> list[tuple[str, str]]:
        """Name and version of each loaded model."""
        return [served.key for served in self.models]

    @property
    def models(self) -> Catalogue:
        """The models that are served now."""
        return self.library.catalogue

    def log_start(self) -> None:
        """Log the served models, the addresses and the limits."""
        log_start(self.models, self.config, self.port, self.metrics_port, self.http_port)

    async def stop(self) -> bool:
        """Refuse new calls, answer the admitted ones within the grace, and close.

        Returns:
            Whether all admitted calls were answered.
        """
        began = self._loop.time()
        for task in self._watching:
            task.cancel()
        self._scoring.drain()
        self.library.close()
        self._health.set_serving(False)
        if self.rest is not None:
            self.rest.drain()
        await asyncio.sleep(_HANDOVER_S)
        await self._answered_within(self.config.grace)
        cut_off = await self._cut_off() if self._calls.unfinished else 0
        await self._stop_grpc()
        if self.rest is not None:
            self.rest.close()
        await self._scoring.close()
        left = self.config.grace - (self._loop.time() - began)
        await asyncio.to_thread(self._tracer.close, max(left, _LAST_SPANS_S))
        self._call_log.close()
        if self._http:
            await asyncio.to_thread(self._http.close)
        return not cut_off

    async def _stop_grpc(self) -> None:
        """Close the port, end the streams, and wait for calls that have not sent their message."""
        if not self._calls.unfinished:
            # When gRPC stops, it may drop calls that it has accepted but not handed over. Wait, so that a call sent
            # right after the last reply arrives here and gets a proper refusal.
            await asyncio.sleep(_HANDOVER_S)
        stopped = asyncio.create_task(self._grpc.stop(_GRPC_STOP_S))
        self._calls.end_streams()
        if not self._calls.unfinished:
            await asyncio.wait({stopped}, timeout=_GRPC_STOP_S)
        await self._grpc.stop(None)
        await stopped

    async def _answered_within(self, seconds: float) -> None:
        """Wait until no call is unfinished, at most for some seconds.

        The loop checks again after each wait: another call may have arrived since the last reply.
        """
        until = self._loop.time() + seconds
        while self._calls.unfinished and self._loop.time() < until:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._calls.wait_until_answered(), until - self._loop.time())

    async def _cut_off(self) -> int:
        """Fail the unfinished calls with UNAVAILABLE, so that clients may retry elsewhere. Return their number."""
        calls, (_, rows) = self._calls.unfinished, self._scoring.cut()
        await self._answered_within(_CUT_OFF_REPLIES_S)
        text = "%d calls were cut off and %d rows not scored, because the grace of %g s has passed"
        _LOG.error(text, calls, rows, self.config.grace, extra=event("cut_off", calls=calls, rows=rows))
        return calls

    async def _ready(self) -> tuple[bool, str]:
        if self._scoring.drained.is_set():
            return False, "draining"
        return (True, "ready") if self._scoring.is_ready else (False, "loading")


def serve(config: ServeConfig, announce: Callable[[Server], None]) -> int:
    """Serve until SIGTERM or SIGINT, then drain; the second one ends the process at once. SIGHUP looks for models.

    Args:
        config: The settings.
        announce: Called when the model is served.

    Returns:
        The exit code: 0 after a complete drain, 1 if calls were cut off.

    Raises:
        StartupError: A port is taken, or an address does not belong to this machine.
        BundleError: The bundle is refused.
    """
    shorten_switch_interval()
    return asyncio.run(_serve(config, announce))


async def _serve(config: ServeConfig, announce: Callable[[Server], None]) -> int:
    server, stop = Server(config), asyncio.Event()
    set_at_signals(stop, server.library.look_now)

    async def on_serving() -> None:
        server.log_start()
        announce(server)

    return await serve_until(stop, server, on_serving)


async def serve_until(stop: asyncio.Event, server: Server, on_serving: Callable[[], Awaitable[None]]) -> int:
    """Serve until an event is set, then drain. Return the exit code; raise as :func:`serve`."""
    try:
        await server.start()
        loading, stopping = asyncio.create_task(server.load()), asyncio.create_task(stop.wait())
        await asyncio.wait({loading, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if loading.done():
            loading.result()
            tune_garbage_collector()
            await on_serving()
        await stopping
        loading.cancel()
        _LOG.info("draining: new calls are refused, admitted ones answered", extra=event("draining"))
    finally:
        complete = await server.stop()
    _LOG.info("stopped", extra=event("stopped"))
    return 0 if complete else 1
