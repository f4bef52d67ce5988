"""The service process: listen, load the model, serve, drain."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import grpc
from grpc_health.v1 import health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from anomaly_vae.density.blocks import default_threads
from anomaly_vae.errors import StartupError
from anomaly_vae.service.access.tokens import Tokens
from anomaly_vae.service.call_errors import CallError
from anomaly_vae.service.http.heartbeat import Heartbeat
from anomaly_vae.service.http.listener import HttpListener
from anomaly_vae.service.idle_connections import close_idle_connections
from anomaly_vae.service.loading import load_served, measure_speed
from anomaly_vae.service.process import set_at_signals, shorten_switch_interval, tune_garbage_collector
from anomaly_vae.service.rpc.health import HEALTH, Health
from anomaly_vae.service.rpc.inference_servicer import INFERENCE, METHODS, InferenceServicer
from anomaly_vae.service.rpc.interceptor import CallInterceptor
from anomaly_vae.service.rpc.open_calls import OpenCalls
from anomaly_vae.service.rpc.scoring_servicer import SERVICE, ScoringServicer
from anomaly_vae.service.scoring import Scoring
from anomaly_vae.service.served import log_start
from anomaly_vae.service.settings import ServeConfig
from anomaly_vae.service.telemetry.call_log import CallLog
from anomaly_vae.service.telemetry.logs import event, show_lost_lines
from anomaly_vae.service.telemetry.metrics import Metrics
from anomaly_vae.service.telemetry.observer import Observer
from anomaly_vae.service.telemetry.records import set_token_name
from anomaly_vae.service.telemetry.tracer import make_tracer
from anomaly_vae.service.transport import max_connections, server_options

if TYPE_CHECKING:
    from anomaly_vae.service.access.tls import ServerCertificate

__all__ = ["Server", "serve"]

_LOG = logging.getLogger("anomaly_vae.service")

_UNAUTHENTICATED = (
    'send the metadata "authorization: Bearer TOKEN", once, with a valid token of this service; '
    "its operator makes one with `anomaly-vae token NAME`"
)

Metadata = Sequence[tuple[str, str | bytes]]

# Seconds, chosen, not measured.
_HANDOVER_S = 0.1  # for calls that gRPC has accepted but not yet handed to Python
_CUT_OFF_REPLIES_S = 1.0  # for sending the errors of calls that were cut off
_GRPC_STOP_S = 2.0  # for calls whose message has not arrived
_LAST_SPANS_S = 0.5  # the least time for sending the last spans, if the grace is used up


class Server:
    """Serves one model over gRPC, with probes and metrics over HTTP on another port."""

    def __init__(self, config: ServeConfig) -> None:
        """Create the parts. Nothing listens yet. Needs a running event loop.

        Raises:
            StartupError: A certificate or token file cannot be used.
        """
        self._certificate, self._tokens = _certificate(config), _tokens(config)
        self.config = config
        self._threads = config.threads or default_threads()
        self.metrics = Metrics(config.max_queue_rows, config.queue_bytes, config.max_queue_seconds)
        show_lost_lines(self.metrics.registry)
        if self._certificate is not None:
            self._certificate.show_expiry(self.metrics.registry)
        self._loop = asyncio.get_running_loop()
        self._heartbeat = Heartbeat(self._loop)
        self._scoring = Scoring(config, self.metrics, self._threads)
        self._health = Health((SERVICE, INFERENCE))
        self._tracer = make_tracer(config.otlp_endpoint)
        self._call_log = CallLog(config.log_calls)
        observer = Observer(self._call_log, self._tracer)
        streams = {f"/{SERVICE}/ScoreStream", f"/{INFERENCE}/ModelStreamInfer"}
        self._calls = OpenCalls(config.max_calls, self.metrics)
        interceptor = CallInterceptor(self._calls, self.metrics, self._refuse, streams, observer)
        self._grpc = grpc.aio.server(interceptors=[interceptor], options=server_options(config))
        self._http: HttpListener | None = None
        self._watching: list[asyncio.Task[None]] = []
        self.port = config.port

    @property
    def metrics_port(self) -> int:
        """The port of HTTP."""
        return self.config.metrics_port if self._http is None else self._http.port

    async def start(self) -> None:
        """Listen on both ports. Health is NOT_SERVING until the model is loaded.

        Raises:
            StartupError: A port is taken, or an address does not belong to this machine.
        """
        config, registry = self.config, self.metrics.registry
        self._http = HttpListener(
            config.metrics_host, config.metrics_port, registry, alive=self._heartbeat.check, ready=self._ready
        )
        self._add_services()
        self.port = self._add_port()
        await self._grpc.start()
        self._watching = [
            asyncio.create_task(self._calls.cancel_unread_replies(config.reply_timeout)),
            asyncio.create_task(close_idle_connections(self.port, max_connections(), self._calls.peers)),
        ]

    def _add_services(self) -> None:
        handlers = ScoringServicer(self._scoring).handlers(), InferenceServicer(self._scoring).handlers()
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
        """Load and check the model in a thread, then set health to SERVING.

        Raises:
            BundleError: The bundle is refused.
            ConfigError: The model needs more samples per row, or more columns, than a request may have.
        """
        served = await asyncio.to_thread(load_served, self.config, self._threads)
        measured = await asyncio.to_thread(measure_speed, served)
        self.metrics.serve_model(served.name, served.version, served.scorer)
        self._scoring.serve(served, measured)
        self._health.set_serving(True)

    def log_start(self) -> None:
        """Log the served model, the addresses and the limits."""
        if self._scoring.served is not None:
            log_start(self._scoring.served, self.config, self.port, self.metrics_port)

    async def stop(self) -> bool:
        """Refuse new calls, answer the admitted ones within the grace, and close.

        Returns:
            Whether all admitted calls were answered.
        """
        began = self._loop.time()
        for task in self._watching:
            task.cancel()
        self._scoring.drain()
        self._health.set_serving(False)
        await asyncio.sleep(_HANDOVER_S)
        await self._answered_within(self.config.grace)
        cut_off = await self._cut_off() if self._calls.unfinished else 0
        await self._stop_grpc()
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

    def _refuse(self, method: str, metadata: Metadata) -> CallError | None:
        """Return why a call is refused before its message is read, or None.

        A call is refused without a valid token or above the limits of calls. Health checks are always allowed.
        """
        if method.startswith(f"/{HEALTH}/"):
            return None
        if self._tokens is not None:
            name = self._tokens.name_of(metadata)
            if name is None:
                self.metrics.rejected.labels("unauthenticated").inc()
                return CallError(grpc.StatusCode.UNAUTHENTICATED, _UNAUTHENTICATED)
            set_token_name(name)
        return self._calls.too_many()

    async def _ready(self) -> tuple[bool, str]:
        if self._scoring.drained.is_set():
            return False, "draining"
        return (True, "ready") if self._scoring.served else (False, "loading")


def serve(config: ServeConfig, announce: Callable[[Server], None]) -> int:
    """Serve until SIGTERM, SIGINT or SIGHUP, then drain. A second SIGTERM or SIGINT ends the process at once.

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
    set_at_signals(stop)
    try:
        await server.start()
        loading, stopping = asyncio.create_task(server.load()), asyncio.create_task(stop.wait())
        await asyncio.wait({loading, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if loading.done():
            loading.result()
            tune_garbage_collector()
            server.log_start()
            announce(server)
        await stopping
        _LOG.info("draining: new calls are refused, admitted ones answered", extra=event("draining"))
    finally:
        complete = await server.stop()
    _LOG.info("stopped", extra=event("stopped"))
    return 0 if complete else 1


def _certificate(config: ServeConfig) -> ServerCertificate | None:
    if config.tls_cert is None or config.tls_key is None:
        return None
    from anomaly_vae.service.access.tls import ServerCertificate  # imports cryptography, which plaintext does not need

    return ServerCertificate(config.tls_cert, config.tls_key, config.tls_client_ca)


def _tokens(config: ServeConfig) -> Tokens | None:
    if config.token_file is None:
        return None
    if config.plaintext_beyond_loopback:
        text = (
            "tokens travel in plaintext on %s: others on the network can read and use them; pass --tls-cert, --tls-key"
        )
        _LOG.warning(text, config.host, extra=event("tokens_in_plaintext"))
    return Tokens(config.token_file)
