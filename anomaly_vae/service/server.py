"""The life of a service: listen, load, serve, drain."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
import sys
from collections.abc import Callable, Sequence

import grpc
from grpc_health.v1 import health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from anomaly_vae.errors import StartupError
from anomaly_vae.estimator import default_threads
from anomaly_vae.service.calls import Calls
from anomaly_vae.service.config import ServeConfig
from anomaly_vae.service.connections import make_room
from anomaly_vae.service.faults import Fault
from anomaly_vae.service.health import HEALTH, Health
from anomaly_vae.service.http import HttpServer
from anomaly_vae.service.inference import INFERENCE, METHODS, InferenceServicer
from anomaly_vae.service.loading import load_served, measure_pace
from anomaly_vae.service.logs import CallLog, event, show_lost_lines
from anomaly_vae.service.metrics import Metrics
from anomaly_vae.service.observer import Observer
from anomaly_vae.service.pulse import Pulse
from anomaly_vae.service.records import note_token
from anomaly_vae.service.scoring import Scoring
from anomaly_vae.service.served import log_start
from anomaly_vae.service.servicers import SERVICE, ScoringServicer
from anomaly_vae.service.tls import Tls, show_expiry
from anomaly_vae.service.tokens import Tokens
from anomaly_vae.service.tracing import make_tracer
from anomaly_vae.service.transport import channel_options, most_connections

__all__ = ["Server", "serve"]

_LOG = logging.getLogger("anomaly_vae.service")

_INTERRUPTED = 130

_WHAT_TO_SEND = (
    'send the metadata "authorization: Bearer TOKEN", once, with a token that this service knows; '
    "its operator makes one with `anomaly-vae token NAME`"
)

Metadata = Sequence[tuple[str, str | bytes]]

# Of a thread that computes, before the event loop may go on: a call that is refused must not wait for Python's 5 ms.
_SECONDS_OF_A_TURN = 0.0001

# Objects made before a collection, collections before one of the next older generation; a call makes about a hundred
# objects.
_GARBAGE = (20_000, 20, 20)

_SECONDS_FOR_ACCEPTED = 0.1
_SECONDS_FOR_ANSWERS = 1.0
_SECONDS_FOR_STRAYS = 2.0
_SECONDS_FOR_SPANS = 0.5


class Server:
    """One model behind gRPC, with probes and metrics on another port."""

    def __init__(self, config: ServeConfig) -> None:
        """Make the parts; nothing listens yet. Needs a running event loop.

        Raises:
            StartupError: A file of certificates or tokens cannot be used.
        """
        self._tls, self._tokens = _tls(config), _tokens(config)
        self.config = config
        self._threads = config.threads or default_threads()
        self.metrics = Metrics(config.max_queue_rows, config.queue_bytes, config.max_queue_seconds)
        show_lost_lines(self.metrics.registry)
        if self._tls is not None:
            show_expiry(self.metrics.registry, self._tls)
        self._loop = asyncio.get_running_loop()
        self._pulse = Pulse(self._loop)
        self._scoring = Scoring(config, self.metrics, self._threads)
        self._health = Health((SERVICE, INFERENCE))
        self._tracer = make_tracer(config.otlp_endpoint)
        self._call_log = CallLog(config.log_calls)
        observer = Observer(self._call_log, self._tracer)
        ending = {f"/{SERVICE}/ScoreStream", f"/{INFERENCE}/ModelStreamInfer"}
        self._calls = Calls(self.metrics, self._refuse, ending, observer, config.max_calls)
        self._grpc = grpc.aio.server(interceptors=[self._calls], options=channel_options(config))
        self._http: HttpServer | None = None
        self._watching: list[asyncio.Task[None]] = []
        self.port = config.port

    @property
    def metrics_port(self) -> int:
        """Where HTTP listens."""
        return self.config.metrics_port if self._http is None else self._http.port

    async def start(self) -> None:
        """Listen on both ports, health NOT_SERVING.

        Raises:
            StartupError: A port is taken or an address is not ours.
        """
        config = self.config
        self._http = HttpServer(
            config.metrics_host, config.metrics_port, self.metrics.registry, alive=self._pulse.check, ready=self._ready
        )
        handlers = ScoringServicer(self._scoring).handlers(), InferenceServicer(self._scoring).handlers()
        self._grpc.add_generic_rpc_handlers(handlers)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._grpc)
        reflection.enable_server_reflection((SERVICE, INFERENCE, HEALTH, reflection.SERVICE_NAME), self._grpc)
        methods = (("unary", "Score"), ("bidi_stream", "ScoreStream"), ("unary", "GetModel"))
        self.metrics.show_methods((kind, SERVICE, method) for kind, method in methods)
        self.metrics.show_methods((kind, INFERENCE, method) for kind, method in METHODS)
        host = f"[{config.host}]" if ":" in config.host else config.host
        try:
            self.port = self._add_port(f"{host}:{config.port}")
        except RuntimeError as error:
            raise StartupError(
                f"cannot listen on {config.host}, port {config.port}: the port is taken, or the address is not this "
                "machine's; choose another with --port or --host"
            ) from error
        await self._grpc.start()
        self._watching = [
            asyncio.create_task(self._calls.hang_up_on_the_deaf(config.reply_timeout)),
            asyncio.create_task(make_room(self.port, most_connections(), self._calls.peers)),
        ]

    async def load(self) -> None:
        """Load and check the model off the loop, then say SERVING.

        Raises:
            BundleError: The bundle is refused.
            ConfigError: The model needs more samples a row, or columns, than a request may have.
        """
        served = await asyncio.to_thread(load_served, self.config, self._threads)
        measured = await asyncio.to_thread(measure_pace, served)
        self.metrics.serve_model(served.name, served.version, served.scorer)
        self._scoring.serve(served, measured)
        self._health.set_serving(True)

    def log_start(self) -> None:
        """Log what is served, where and within which limits."""
        if self._scoring.served is not None:
            log_start(self._scoring.served, self.config, self.port, self.metrics_port)

    async def stop(self) -> bool:
        """Refuse new calls, answer the admitted ones within the grace, and close; whether all were answered."""
        began = self._loop.time()
        for task in self._watching:
            task.cancel()
        self._scoring.drain()
        self._health.set_serving(False)
        await asyncio.sleep(_SECONDS_FOR_ACCEPTED)
        await self._answered_within(self.config.grace)
        cut_off = await self._cut_off() if self._calls.unfinished else 0
        if not self._calls.unfinished:
            # gRPC may drop a call it has accepted but not handed over when told to stop: let those come that whoever
            # was answered last has sent since, and be refused.
            await asyncio.sleep(_SECONDS_FOR_ACCEPTED)
        stopped = asyncio.create_task(self._grpc.stop(_SECONDS_FOR_STRAYS))
        self._calls.end_streams()
        if not self._calls.unfinished:  # what is left now are calls whose message has not come yet
            await asyncio.wait({stopped}, timeout=_SECONDS_FOR_STRAYS)
        await self._grpc.stop(None)
        await stopped
        await self._scoring.close()
        left = self.config.grace - (self._loop.time() - began)
        await asyncio.to_thread(self._tracer.close, max(left, _SECONDS_FOR_SPANS))
        self._call_log.close()
        if self._http:
            await asyncio.to_thread(self._http.close)
        return not cut_off

    async def _answered_within(self, seconds: float) -> None:
        """Wait until no call is left; one more may have come, to be refused, since the last was answered."""
        until = self._loop.time() + seconds
        while self._calls.unfinished and self._loop.time() < until:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._calls.wait_until_answered(), until - self._loop.time())

    async def _cut_off(self) -> int:
        """Fail the calls that are left, which their callers may send elsewhere; their number."""
        calls, (_, rows) = self._calls.unfinished, self._scoring.cut()
        await self._answered_within(_SECONDS_FOR_ANSWERS)
        text = "%d calls were cut off, with %d rows not scored: the grace of %g s was over"
        _LOG.error(text, calls, rows, self.config.grace, extra=event("cut_off", calls=calls, rows=rows))
        return calls

    def _add_port(self, address: str) -> int:
        if self._tls is None:
            return int(self._grpc.add_insecure_port(address))
        return int(self._grpc.add_secure_port(address, self._tls.credentials()))

    def _refuse(self, method: str, metadata: Metadata) -> Fault | None:
        """Why a call is refused before its message is read: a stranger's, or one too many. Probes have no token."""
        if method.startswith(f"/{HEALTH}/"):
            return None
        if self._tokens is not None:
            name = self._tokens.name_of(metadata)
            if name is None:
                self.metrics.rejected.labels("unauthenticated").inc()
                return Fault(grpc.StatusCode.UNAUTHENTICATED, _WHAT_TO_SEND)
            note_token(name)
        return self._calls.too_many()

    async def _ready(self) -> tuple[bool, str]:
        if self._scoring.drained.is_set():
            return False, "draining"
        return (True, "ready") if self._scoring.served else (False, "loading")


def serve(config: ServeConfig, announce: Callable[[Server], None]) -> int:
    """Serve until SIGTERM, SIGINT or SIGHUP, then drain; a second SIGTERM or SIGINT ends at once.

    Args:
        config: Settings.
        announce: Called once the model is served.

    Returns:
        The exit code: 0 after a complete drain, 1 if calls were cut off.

    Raises:
        StartupError: A port is taken or an address is not ours.
        BundleError: The bundle is refused.
    """
    sys.setswitchinterval(_SECONDS_OF_A_TURN)
    return asyncio.run(_serve(config, announce))


async def _serve(config: ServeConfig, announce: Callable[[Server], None]) -> int:
    server, stop = Server(config), asyncio.Event()
    _stop_by_signals(stop)
    try:
        await server.start()
        loading, stopping = asyncio.create_task(server.load()), asyncio.create_task(stop.wait())
        await asyncio.wait({loading, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if loading.done():
            loading.result()
            _settle()
            server.log_start()
            announce(server)
        await stopping
        _LOG.info("draining: new calls are refused, admitted ones answered", extra=event("draining"))
    finally:
        complete = await server.stop()
    _LOG.info("stopped", extra=event("stopped"))
    return 0 if complete else 1


def _stop_by_signals(stop: asyncio.Event) -> None:
    """Set the event at the first signal; SIGHUP comes twice when a terminal closes, so its second does no more."""

    def on_signal(number: signal.Signals) -> None:
        if stop.is_set() and number is not signal.SIGHUP:
            os._exit(_INTERRUPTED)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        if number is not signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:  # as nohup has it
            asyncio.get_running_loop().add_signal_handler(number, on_signal, number)


def _settle() -> None:
    """Spare the garbage collector what will live as long as the service: a full collection stops every call."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_GARBAGE)


def _tls(config: ServeConfig) -> Tls | None:
    if config.tls_cert is None or config.tls_key is None:
        return None
    return Tls(config.tls_cert, config.tls_key, config.tls_client_ca)


def _tokens(config: ServeConfig) -> Tokens | None:
    if config.token_file is None:
        return None
    if config.plaintext_beyond_loopback:
        text = "tokens travel in plaintext on %s: who sees the network can call with them; pass --tls-cert, --tls-key"
        _LOG.warning(text, config.host, extra=event("tokens_in_plaintext"))
    return Tokens(config.token_file)
