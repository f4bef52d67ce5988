"""The process that starts the workers, keeps them running, and answers probes and scrapes for all of them."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector

from anomaly_vae.errors import AnomalyVaeError, BundleError, ConfigError, StartupError
from anomaly_vae.service.http.heartbeat import Heartbeat
from anomaly_vae.service.http.listener import HttpListener
from anomaly_vae.service.process import has_terminal
from anomaly_vae.service.settings import ServeConfig
from anomaly_vae.service.supervisor.config_message import config_message
from anomaly_vae.service.supervisor.fleet import Fleet
from anomaly_vae.service.supervisor.held_port import HeldPort
from anomaly_vae.service.supervisor.keeper import is_ready_or_ended
from anomaly_vae.service.supervisor.worker_process import WorkerProcess, end_of
from anomaly_vae.service.telemetry.logs import configure, event, show_lost_lines

__all__ = ["Supervisor", "supervise"]

_LOG = logging.getLogger("anomaly_vae.service")

_EXIT_INTERRUPTED = 130  # 128 + the number of SIGINT, as shells report it

# Seconds that workers may take longer than their grace. Chosen, not measured: a drain has waits of 4 s beside it.
_BEYOND_GRACE_S = 15.0

# The error for a worker that could not start, by its exit code.
_ERRORS: dict[int, type[AnomalyVaeError]] = {
    kind.exit_code: kind for kind in (ConfigError, BundleError, StartupError, AnomalyVaeError)
}


class Supervisor:
    """Serves by several workers.

    Attributes:
        config: The settings, with the ports that were found for 0.
        fleet: The workers.
        served: Name and version of each model at the start.
    """

    def __init__(self, config: ServeConfig) -> None:
        """Take the ports. Probes and scrapes are answered from now on. Needs a running event loop.

        Raises:
            StartupError: A port is taken, or an address does not belong to this machine.
        """
        self._ports = [HeldPort(config.host, config.port)]
        self._started = self._draining = False
        try:
            http_port = config.http_port
            if http_port is not None:
                self._ports.append(HeldPort(config.http_host, http_port, "http_port"))
                http_port = self._ports[1].port
            self._log_lock = os.memfd_create("anomaly-vae-log")
            self.fleet = Fleet(config.workers, self._log_lock, _own_metrics())
            heartbeat, registry = Heartbeat(asyncio.get_running_loop()), CollectorRegistry()
            registry.register(self.fleet)
            registry.register(self.fleet.metrics)
            self._http = HttpListener(
                config.metrics_host, config.metrics_port, registry, alive=heartbeat.check, ready=self._ready
            )
        except BaseException:
            self._release_ports()
            raise
        self.config = replace(config, port=self._ports[0].port, http_port=http_port, metrics_port=self._http.port)
        self.fleet.config = config_message(self.config)
        configure(config.log_format, config.log_level, lock=self._log_lock)
        self._tasks: set[asyncio.Task[None]] = set()
        self.served: list[tuple[str, str]] = []
        self._rolling: asyncio.Task[None] | None = None

    @property
    def port(self) -> int:
        """The port of gRPC."""
        return self.config.port

    @property
    def http_port(self) -> int | None:
        """The port of the Open Inference Protocol over HTTP; None without it."""
        return self.config.http_port

    @property
    def metrics_port(self) -> int:
        """The port of probes and metrics."""
        return self.config.metrics_port

    async def start(self) -> None:
        """Start the workers and wait until all are ready.

        Raises:
            ConfigError, BundleError, StartupError, AnomalyVaeError: A worker failed to start, for this reason.
        """
        processes = [await keeper.start() for keeper in self.fleet.keepers]
        waits = [asyncio.create_task(_started(process)) for process in processes]
        try:
            for wait in asyncio.as_completed(waits):
                await wait
        finally:
            for task in waits:
                task.cancel()
        self._started = True
        for keeper in self.fleet.keepers:
            self._keep_running(keeper.keep())
        self.served = await processes[0].request("announce")

    def hang_up(self) -> bool:
        """Let the workers look for new versions of their models. Return False if they cannot."""
        if not any("reload" in process.kinds for process in self.fleet.ready):
            return False
        self._keep_running(self._reload())
        return True

    def replace_workers(self) -> None:
        """Replace the workers one after the other, unless this is being done already."""
        if self._started and (self._rolling is None or self._rolling.done()):
            self._rolling = self._keep_running(self._replace())

    async def stop(self) -> bool:
        """Drain the workers and wait for their end; kill those that take too long.

        Returns:
            Whether all workers that served have answered all their calls.
        """
        self._draining = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        processes = list(self.fleet.processes)
        ends = {asyncio.create_task(process.ended()): process for process in processes}
        draining = [asyncio.create_task(process.drain()) for process in processes]
        complete = True
        if ends:
            done, late = await asyncio.wait(ends, timeout=self.config.grace + _BEYOND_GRACE_S)
            for end in late:
                _LOG.error("worker %d does not end; it is killed", ends[end].worker, extra=event("worker_stuck"))
                ends[end].kill()
                await end
            complete = not late and all(end.result() == 0 or ends[end].ready_at is None for end in done)
        await asyncio.gather(*draining)
        await asyncio.to_thread(self._http.close)
        self._release_ports()
        return complete

    def kill(self) -> None:
        """End all workers at once."""
        for process in self.fleet.processes:
            process.kill()

    def _keep_running(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run a coroutine until it ends or the service does. If it raises, a fault of ours, the log says so."""

        def on_end(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            error = None if task.cancelled() else task.exception()
            if error is not None:
                name = type(error).__name__
                _LOG.error("a task of the supervisor failed with %s", name, exc_info=error, extra=event("fault"))

        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(on_end)
        return task

    async def _reload(self) -> None:
        for answer in await self.fleet.broadcast("reload", {}):
            if answer.error:
                fields = {"worker": answer.worker}
                text = "worker %d could not look for new versions: %s"
                _LOG.error(text, answer.worker, answer.error, extra=event("reload_failed", **fields))

    async def _replace(self) -> None:
        for keeper in self.fleet.keepers:
            if not await keeper.replace():
                return
        num_workers = len(self.fleet.keepers)
        _LOG.info("all %d workers are replaced", num_workers, extra=event("workers_replaced", workers=num_workers))

    async def _ready(self) -> tuple[bool, str]:
        ready, wanted = len(self.fleet.ready), len(self.fleet.keepers)
        if self._draining:
            return False, "draining"
        if not self._started:
            return False, f"loading: {ready} of {wanted} workers are ready"
        return ready > 0, f"{'ready' if ready else 'not ready'}: {ready} of {wanted} workers"

    def _release_ports(self) -> None:
        for port in self._ports:
            port.close()


def supervise(config: ServeConfig, announce: Callable[[Supervisor], None]) -> int:
    """Serve by several workers until SIGTERM or SIGINT, then drain; a second one ends all processes at once.

    SIGHUP lets the workers look for new versions of their models; while they still start, or when the terminal is
    closed, it drains as well. SIGUSR2 replaces the workers one after the other.

    Args:
        config: The settings.
        announce: Called when all workers serve.

    Returns:
        The exit code: 0 after a complete drain, 1 if calls were cut off.

    Raises:
        AnomalyVaeError: The service could not start; the reason of a worker is raised as in a single process.
    """
    return asyncio.run(_supervise(config, announce))


async def _supervise(config: ServeConfig, announce: Callable[[Supervisor], None]) -> int:
    supervisor, stop = Supervisor(config), asyncio.Event()
    _set_at_signals(supervisor, stop)
    if config.workers > (cores := len(os.sched_getaffinity(0))):
        text = "%d workers share %d cores: each worker beyond their number takes memory and makes nothing faster"
        _LOG.warning(text, config.workers, cores, extra=event("many_workers"))
    try:
        starting, stopping = asyncio.create_task(supervisor.start()), asyncio.create_task(stop.wait())
        await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            starting.result()
            announce(supervisor)
        await stopping
        starting.cancel()
        _LOG.info("draining all workers", extra=event("draining"))
    except BaseException:
        supervisor.kill()
        raise
    finally:
        complete = await supervisor.stop()
    _LOG.info("stopped", extra=event("stopped"))
    return 0 if complete else 1


def _set_at_signals(supervisor: Supervisor, stop: asyncio.Event) -> None:
    def on_end() -> None:
        if stop.is_set():
            supervisor.kill()
            os._exit(_EXIT_INTERRUPTED)
        stop.set()

    had_terminal = has_terminal()

    def on_hang_up() -> None:
        if (had_terminal and not has_terminal()) or not supervisor.hang_up():
            stop.set()

    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, on_end)
    loop.add_signal_handler(signal.SIGINT, on_end)
    loop.add_signal_handler(signal.SIGUSR2, supervisor.replace_workers)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup ignores it
        loop.add_signal_handler(signal.SIGHUP, on_hang_up)


async def _started(process: WorkerProcess) -> None:
    """Wait until a process is ready; raise the error with which it ended."""
    if await is_ready_or_ended(process):
        return
    if process.failure is not None:
        text, code = process.failure
        raise _ERRORS.get(code, AnomalyVaeError)(text)
    raise StartupError(f"worker {process.worker} ended {end_of(process.returncode or 0)} while it started")


def _own_metrics() -> CollectorRegistry:
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    show_lost_lines(registry)
    return registry
