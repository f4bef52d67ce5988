"""The life of a service: listen, load, serve, drain."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence

import grpc
from grpc_health.v1 import health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from anomaly_vae.errors import ConfigError, StartupError
from anomaly_vae.estimator import default_threads
from anomaly_vae.service.calls import Calls
from anomaly_vae.service.config import ServeConfig
from anomaly_vae.service.faults import Fault
from anomaly_vae.service.health import HEALTH, Health
from anomaly_vae.service.http import HttpServer
from anomaly_vae.service.inference import INFERENCE, METHODS, InferenceServicer
from anomaly_vae.service.logs import CallLog, event
from anomaly_vae.service.metrics import Metrics
from anomaly_vae.service.observer import Observer
from anomaly_vae.service.scoring import Scoring
from anomaly_vae.service.served import Served
from anomaly_vae.service.servicers import SERVICE, ScoringServicer
from anomaly_vae.service.tls import Tls, show_expiry
from anomaly_vae.service.tokens import Tokens
from anomaly_vae.service.tracing import make_tracer
from anomaly_vae.service.transport import channel_options

__all__ = ["Server", "serve"]

_LOG = logging.getLogger("anomaly_vae.service")

_INTERRUPTED = 130

_WHAT_TO_SEND = (
    'send the metadata "authorization: Bearer TOKEN", once, with a token that this service knows; '
    "its operator makes one with `anomaly-vae token NAME`"
)

Metadata = Sequence[tuple[str, str | bytes]]

# Of a thread that computes, before the event loop may go on: a call that is refused must not wait for Python's 5 ms.
_SECONDS_OF_A_TURN = 0.0005

# Objects made before a collection, collections before one of the next older generation; a call makes about a hundred
# objects.
_GARBAGE = (20_000, 20, 20)

_SECONDS_TO_HEAR_THE_LOOP = 2.0
_SECONDS_FOR_ACCEPTED = 0.1
_SECONDS_FOR_STRAYS = 2.0
_SECONDS_FOR_SPANS = 0.5
_SECONDS_TO_CALL_AGAIN = 0.1


class Server:
    """One model behind gRPC, with probes and metrics on another port."""

    def __init__(self, config: ServeConfig) -> None:
        """Make the parts; nothing listens yet. Needs a running event loop.

        Raises:
            StartupError: A file of certificates or tokens cannot be used.
        """
        self._tls, self._tokens = _tls(config), _tokens(config)
        threads = config.threads or default_threads()
        self.config = config
        self.metrics = Metrics(config.max_queue_rows, config.queue_bytes)
        if self._tls is not None:
            show_expiry(self.metrics.registry, self._tls)
        self._loop = asyncio.get_running_loop()
        self._scoring = Scoring(config, self.metrics, threads)
        self._health = Health((SERVICE, INFERENCE))
        self._tracer = make_tracer(config.otlp_endpoint)
        self._call_log = CallLog(config.log_calls)
        observer = Observer(self._call_log, self._tracer)
        self._calls = Calls(self.metrics, self._refuse, {f"/{SERVICE}/ScoreStream"}, observer)
        self._grpc = grpc.aio.server(interceptors=[self._calls], options=channel_options(config))
        self._http: HttpServer | None = None
        self._hanging_up: asyncio.Task[None] | None = None
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
            config.metrics_host, config.metrics_port, self.metrics.registry, alive=self._alive, ready=self._ready
        )
        handlers = ScoringServicer(self._scoring).handlers(), InferenceServicer(self._scoring).handlers()
        self._grpc.add_generic_rpc_handlers(handlers)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._grpc)
        reflection.enable_server_reflection((SERVICE, INFERENCE, HEALTH, reflection.SERVICE_NAME), self._grpc)
        methods = (("unary", "Score"), ("bidi_stream", "ScoreStream"), ("unary", "GetModel"))
        self.metrics.show_methods((kind, SERVICE, method) for kind, method in methods)
        self.metrics.show_methods(("unary", INFERENCE, method) for method in METHODS)
        host = f"[{config.host}]" if ":" in config.host else config.host
        try:
            self.port = self._add_port(f"{host}:{config.port}")
        except RuntimeError as error:
            raise StartupError(
                f"cannot listen on {config.host}, port {config.port}: the port is taken, or the address is not this "
                "machine's; choose another with --port or --host"
            ) from error
        await self._grpc.start()
        self._hanging_up = asyncio.create_task(self._calls.hang_up_on_the_deaf(config.reply_timeout))

    async def load(self) -> None:
        """Load and check the model off the loop, then say SERVING.

        Raises:
            BundleError: The bundle is refused.
            ConfigError: The model needs more samples a row, or columns, than a request may have.
        """
        served = await asyncio.to_thread(_load, self.config)
        self.metrics.serve_model(served.name, served.version, served.scorer)
        self._scoring.served = served
        self._health.set_serving(True)

    def log_start(self) -> None:
        """Log what is served, where and within which limits."""
        config, served = self.config, self._scoring.served
        if served is not None:
            _LOG.info(
                "serving %s version %s, bundle %.12s, threshold %.6g nats: gRPC on %s port %d, HTTP on %s port %d, "
                "%d threads, at most %d rows a request and %d in the queue",
                *(served.name, served.version, served.scorer.bundle.digest, served.scorer.threshold),
                *(config.host, self.port, config.metrics_host, self.metrics_port),
                *(config.threads or default_threads(), config.max_rows, config.max_queue_rows),
                extra=event("serving", model_name=served.name, model_version=served.version),
            )

    async def stop(self) -> bool:
        """Refuse new calls, answer the admitted ones within the grace, and close; whether all were answered."""
        began = self._loop.time()
        if self._hanging_up:
            self._hanging_up.cancel()
        self._scoring.drained.set()
        self._health.set_serving(False)
        await asyncio.sleep(_SECONDS_FOR_ACCEPTED)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._calls.wait_until_answered(), self.config.grace)
        cut_off = self._calls.unfinished
        if not cut_off:
            # gRPC may drop a call it has accepted but not handed over when told to stop: let those come that whoever
            # was answered last has sent since, and be refused.
            await asyncio.sleep(_SECONDS_FOR_ACCEPTED)
        stopped = asyncio.create_task(self._grpc.stop(_SECONDS_FOR_STRAYS))
        self._calls.end_streams()
        if not cut_off:  # what is left now are calls whose message has not come yet
            await asyncio.wait({stopped}, timeout=_SECONDS_FOR_STRAYS)
        await self._grpc.stop(None)
        await stopped
        await self._scoring.close()
        left = self.config.grace - (self._loop.time() - began)
        await asyncio.to_thread(self._tracer.close, max(left, _SECONDS_FOR_SPANS))
        self._call_log.close()
        if self._http:
            await asyncio.to_thread(self._http.close)
        if cut_off:
            _LOG.error(
                "%d calls were cut off: the grace of %g s was over", cut_off, self.config.grace, extra=event("cut_off")
            )
        return not cut_off

    def _add_port(self, address: str) -> int:
        if self._tls is None:
            return int(self._grpc.add_insecure_port(address))
        return int(self._grpc.add_secure_port(address, self._tls.credentials()))

    def _refuse(self, method: str, metadata: Metadata) -> Fault | None:
        """Why a call is refused before its message is read: a stranger's, or one too many. Probes have no token."""
        if method.startswith(f"/{HEALTH}/"):
            return None
        if self._tokens is not None and not self._tokens.allows(metadata):
            self.metrics.rejected.labels("unauthenticated").inc()
            return Fault(grpc.StatusCode.UNAUTHENTICATED, _WHAT_TO_SEND)
        if self._calls.unfinished < self.config.max_calls:
            return None
        self.metrics.rejected.labels("queue_full").inc()
        text = f"{self._calls.unfinished} calls are under way, at most {self.config.max_calls} may; send it again later"
        return Fault(grpc.StatusCode.RESOURCE_EXHAUSTED, text, retry_after=_SECONDS_TO_CALL_AGAIN)

    def _ready(self) -> tuple[bool, str]:
        if self._scoring.drained.is_set():
            return False, "draining"
        return (True, "ready") if self._scoring.served else (False, "loading")

    def _alive(self) -> tuple[bool, str]:
        """Whether the event loop still turns; called from a thread of the HTTP server."""
        turned = threading.Event()
        try:
            self._loop.call_soon_threadsafe(turned.set)
        except RuntimeError:
            return False, "stopped"
        return (True, "alive") if turned.wait(_SECONDS_TO_HEAR_THE_LOOP) else (False, "the event loop is stuck")


def serve(config: ServeConfig, announce: Callable[[Server], None]) -> int:
    """Serve until SIGTERM or SIGINT, then drain; a second signal ends at once.

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

    def on_signal() -> None:
        if stop.is_set():
            os._exit(_INTERRUPTED)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, on_signal)
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


def _load(config: ServeConfig) -> Served:
    from anomaly_vae.runtime import Slots
    from anomaly_vae.scorer import load

    scorer = load(config.model, threads=1, slots=Slots(config.threads or default_threads()))
    if scorer.num_samples > config.max_samples:
        raise ConfigError(
            f"the model is calibrated for {scorer.num_samples} samples a row, max_samples allows {config.max_samples}"
        )
    if len(scorer.schema.columns) > config.max_columns:
        raise ConfigError(
            f"the model has {len(scorer.schema.columns)} columns, max_columns allows {config.max_columns}"
        )
    budgets = tuple(budget for budget in scorer.budgets if budget <= config.max_samples)
    return Served(config.model_name, config.model_version, scorer, budgets)
