"""Keeps one worker running: starts it again when it ends, and replaces it without a gap."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from anomaly_vae.service.supervisor.backoff import Backoff
from anomaly_vae.service.supervisor.worker_process import WorkerProcess, end_of
from anomaly_vae.service.telemetry.logs import event

__all__ = ["Keeper", "is_ready_or_ended"]

_LOG = logging.getLogger("anomaly_vae.service")


class Keeper:
    """Keeps one worker running.

    Attributes:
        worker: Its number.
        restarts: How often a new process was started because the former one ended by itself.
        process: The process that serves, or that will when it is ready.
    """

    def __init__(self, worker: int, launch: Callable[[int], Awaitable[WorkerProcess]]) -> None:
        """Prepare.

        Args:
            worker: Number of the worker.
            launch: Starts a process of the worker.
        """
        self.worker = worker
        self.restarts = 0
        self.process: WorkerProcess | None = None
        self._launch = launch
        self._backoff = Backoff()
        self._changing = asyncio.Lock()  # of the process: it may die while it is being replaced

    @property
    def is_ready(self) -> bool:
        """Whether its process serves."""
        return self.process is not None and self.process.is_ready

    async def start(self) -> WorkerProcess:
        """Start the first process."""
        self.process = await self._launch(self.worker)
        return self.process

    async def keep(self) -> None:
        """Start the worker again whenever it ends, until this is cancelled."""
        while True:
            process = self.process
            if process is not None:
                code = await process.ended()
                if self.process is not process:  # it was replaced
                    continue
                await self._after_end(process, code)
            async with self._changing:
                if self.process is not process:
                    continue
                try:
                    self.process = await self._launch(self.worker)
                    self.restarts += 1
                    continue
                except OSError as error:  # the system has no more processes, descriptors or memory
                    fields = {"worker": self.worker}
                    _LOG.error(
                        "worker %d cannot start: %s", self.worker, error, extra=event("worker_refused", **fields)
                    )
                    self.process = None
            await asyncio.sleep(self._backoff.wait_s(0.0))

    async def replace(self) -> bool:
        """Start a new process and drain the former one when the new one is ready.

        Returns:
            Whether the new one got ready. If not, the former one serves on.
        """
        new = await self._launch(self.worker)
        if not await is_ready_or_ended(new):
            text, _ = new.failure or (f"it ended {end_of(new.returncode or 0)}", 1)
            _LOG.error(
                "worker %d is not replaced, the new process failed: %s",
                self.worker,
                text,
                extra=event("worker_refused", worker=self.worker),
            )
            return False
        async with self._changing:
            former, self.process = self.process, new
        if former is not None:
            await former.drain()
            await former.ended()
        return True

    async def _after_end(self, process: WorkerProcess, code: int) -> None:
        """Log how a process ended, and wait before the next is started."""
        wait_s = self._backoff.wait_s(process.served_s)
        reason = f"failed: {process.failure[0]}" if process.failure else f"ended {end_of(code)}"
        fields = {"worker": self.worker, "pid": process.pid, "exit_code": code, "wait_s": wait_s}
        again = "again and again; " if self._backoff.is_loop else ""
        text = "worker %d %s; %sit is started again in %g s, the others serve on"
        _LOG.error(text, self.worker, reason, again, wait_s, extra=event("worker_ended", **fields))
        await asyncio.sleep(wait_s)


async def is_ready_or_ended(process: WorkerProcess) -> bool:
    """Wait until a process is ready or has ended; return whether it is ready."""
    waits = [asyncio.create_task(process.became_ready.wait()), asyncio.create_task(process.ended())]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        return not waits[1].done()
    finally:
        for wait in waits:
            wait.cancel()
