"""The program of a worker. The supervisor starts it; people start ``anomaly-vae serve --workers N``."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from anomaly_vae.errors import AnomalyVaeError

if TYPE_CHECKING:
    from anomaly_vae.service.settings import ServeConfig
    from anomaly_vae.service.supervisor.control import Control

__all__ = ["main"]

_LOG = logging.getLogger("anomaly_vae.service")

_EXIT_FAULT = 1
_EXIT_TERMINATED = 143  # 128 + the number of SIGTERM, as shells report it


def main(end: int, lock: int, worker: int) -> int:
    """Serve until the supervisor says so, or is gone, or SIGTERM.

    Args:
        end: Descriptor of the socket to the supervisor.
        lock: Descriptor of the file that is locked to write the log.
        worker: Number of this worker.

    Returns:
        The exit code.
    """
    # A terminal sends these to all processes of the program; the supervisor decides what they mean.
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)
    from prometheus_client import disable_created_metrics

    from anomaly_vae.service.process import shorten_switch_interval
    from anomaly_vae.service.supervisor.config_message import config_from_message
    from anomaly_vae.service.supervisor.control import Control
    from anomaly_vae.service.telemetry.logs import configure, event

    control = Control(socket.socket(fileno=end))
    disable_created_metrics()  # type: ignore[no-untyped-call]
    logging.getLogger("grpc._cython.cygrpc").addFilter(lambda record: "ExecuteBatchError" not in record.getMessage())
    try:
        config = config_from_message(control.ask("config"))
        configure(config.log_format, config.log_level, worker=worker, lock=lock)
        shorten_switch_interval()
        return asyncio.run(_serve(config, control))
    except AnomalyVaeError as error:
        control.send_failure(str(error), error.exit_code)
        return error.exit_code
    except Exception as error:  # noqa: BLE001 (the outermost frame)
        name = type(error).__name__
        _LOG.exception("worker %d failed with %s", worker, name, extra=event("fault"))
        control.send_failure(f"internal error: {name}; the log says where", _EXIT_FAULT)
        return _EXIT_FAULT
    finally:
        control.send_last_metrics()
        logging.shutdown()


async def _serve(config: ServeConfig, control: Control) -> int:
    from anomaly_vae.density.blocks import default_threads
    from anomaly_vae.service.server import Server, serve_until

    threads = config.threads or max(1, default_threads() // config.workers)
    server, stop = Server(replace(config, threads=threads), control), asyncio.Event()
    control.attach(server.metrics.registry, server.heartbeat, stop.set, config.grace)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, _terminate, stop)

    async def announce(_: dict[str, Any]) -> list[tuple[str, str]]:
        server.log_start()
        return server.served

    async def on_serving() -> None:
        await control.request("loaded")  # the supervisor repeats what the other workers were asked to load
        await server.listen()
        control.handle("announce", announce)
        await control.request("ready", {"kinds": control.kinds})

    return await serve_until(stop, server, on_serving)


def _terminate(stop: asyncio.Event) -> None:
    """Drain at the first SIGTERM, end at once at the second."""
    if stop.is_set():
        os._exit(_EXIT_TERMINATED)
    stop.set()


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
