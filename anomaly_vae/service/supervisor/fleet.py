"""All workers together: their processes, their metrics, and messages to all of them."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from anomaly_vae.service.peers import Answer
from anomaly_vae.service.supervisor.channel import ChannelError
from anomaly_vae.service.supervisor.keeper import Keeper
from anomaly_vae.service.supervisor.merged_metrics import MergedMetrics
from anomaly_vae.service.supervisor.snapshot import from_json, take_snapshot
from anomaly_vae.service.supervisor.worker_process import WorkerProcess
from anomaly_vae.service.telemetry.logs import event

__all__ = ["Fleet"]

_LOG = logging.getLogger("anomaly_vae.service")

_OWN_NUMBER = 0  # of this process among those with metrics

# Seconds, chosen, not measured.
_SNAPSHOT_S = 1.0  # a scraper waits this long for a worker that is stuck; then its last snapshot counts
_BROADCAST_S = 600.0  # a large model may take minutes to load

# Messages that are repeated to workers that start later, the last one of each name.
_REPEATED = ("load", "unload")


class Fleet(Collector):
    """The workers of a service. It is also the collector of the metrics about them.

    Attributes:
        keepers: One for each worker, by number.
        metrics: The metrics of all processes.
        config: The settings, as a message to the workers.
        processes: All processes that have not ended.
    """

    def __init__(self, num_workers: int, lock: int, own: CollectorRegistry) -> None:
        """Prepare; nothing is started.

        Args:
            num_workers: How many workers are wanted.
            lock: Descriptor of the file that is locked to write the log.
            own: The metrics of this process itself.
        """
        self.keepers = [Keeper(worker, self._launch) for worker in range(num_workers)]
        self.processes: set[WorkerProcess] = set()
        self.config: dict[str, Any] = {}
        self._lock, self._own = lock, own
        self._loop = asyncio.get_running_loop()
        self.metrics = MergedMetrics(self._refresh)
        self._numbers = itertools.count(_OWN_NUMBER + 1)
        self._metrics_of: dict[WorkerProcess, int] = {}
        self._is_final: set[WorkerProcess] = set()  # which have sent their last metrics
        self._tasks: set[asyncio.Task[None]] = set()
        self._repeated: dict[str, tuple[str, dict[str, Any]]] = {}  # by name of the model
        self._repeated_to: dict[WorkerProcess, dict[str, tuple[str, dict[str, Any]]]] = {}
        self._broadcasting = asyncio.Lock()

    @property
    def ready(self) -> list[WorkerProcess]:
        """The processes that serve, by number of their worker."""
        return [keeper.process for keeper in self.keepers if keeper.process is not None and keeper.process.is_ready]

    async def broadcast(self, kind: str, content: dict[str, Any]) -> list[Answer]:
        """Send a message to all ready workers and return their answers; see :meth:`Peers.broadcast`."""
        async with self._broadcasting:  # so that all workers get messages in the same order
            answers: dict[WorkerProcess, Answer] = {}
            while missing := [process for process in self.ready if process not in answers]:
                found = await asyncio.gather(*(_answer(process, kind, content) for process in missing))
                answers |= zip(missing, found, strict=True)
                if kind in _REPEATED and any(not answer.error for answer in found):
                    self._repeated[content["name"]] = kind, content
                elif kind == "load":  # it has failed everywhere, and ended an unloading: a new worker loads what it can
                    self._repeated.pop(content["name"], None)
        return sorted(answers.values(), key=lambda answer: answer.worker)

    def collect(self) -> Iterator[Metric]:
        """Return the metrics about the workers."""
        yield GaugeMetricFamily("anomaly_vae_workers", "Workers that are wanted.", len(self.keepers))
        up = GaugeMetricFamily("anomaly_vae_worker_up", "1 while the worker serves.", labels=("worker",))
        restarts = CounterMetricFamily(
            "anomaly_vae_worker_restarts",
            "How often a worker was started again because its process had ended.",
            labels=("worker",),
        )
        for keeper in self.keepers:
            up.add_metric((str(keeper.worker),), float(keeper.is_ready))
            restarts.add_metric((str(keeper.worker),), keeper.restarts)
        yield from (up, restarts)

    async def _launch(self, worker: int) -> WorkerProcess:
        process = WorkerProcess(worker, self._lock, self._receive)
        await process.start()
        self.processes.add(process)
        self._metrics_of[process] = next(self._numbers)
        task = asyncio.create_task(self._accompany(process))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return process

    async def _accompany(self, process: WorkerProcess) -> None:
        """Watch a process until its end."""
        watching = asyncio.create_task(process.watch(lambda snapshot: self._update(process, snapshot)))
        await process.ended()
        watching.cancel()
        self.processes.discard(process)
        self._repeated_to.pop(process, None)
        self._is_final.discard(process)
        self.metrics.end(self._metrics_of.pop(process))

    async def _receive(self, process: WorkerProcess, kind: str, content: dict[str, Any]) -> Any:
        if kind == "config":
            return self.config
        if kind == "loaded":
            await self._repeat(process)
        elif kind == "ready":
            async with self._broadcasting:
                await self._repeat(process)  # what was sent to the others since it was loaded
                process.set_ready(content["kinds"])
        elif kind == "last_metrics":
            self._update(process, content["snapshot"])
            self._is_final.add(process)  # what comes now was taken before
        elif kind == "broadcast":
            return [asdict(answer) for answer in await self.broadcast(content["kind"], content["content"])]
        return None

    async def _repeat(self, process: WorkerProcess) -> None:
        """Send a process the repeated messages that it has not got."""
        got = self._repeated_to.setdefault(process, {})
        for name, message in list(self._repeated.items()):
            if got.get(name) is message:
                continue
            got[name] = message
            answer = await _answer(process, *message)
            if answer.error:
                fields = {"worker": process.worker, "model_name": name}
                text = "worker %d cannot %s %s as the others did: %s"
                _LOG.error(
                    text, process.worker, message[0], name, answer.error, extra=event("worker_differs", **fields)
                )

    def _update(self, process: WorkerProcess, snapshot: list[Any]) -> None:
        if process in self._metrics_of and process not in self._is_final:
            self.metrics.update(self._metrics_of[process], str(process.worker), from_json(snapshot))

    def _refresh(self) -> None:
        """Get new snapshots, from the thread of a scrape."""
        self.metrics.update(_OWN_NUMBER, "supervisor", from_json(take_snapshot(self._own)))
        with contextlib.suppress(RuntimeError, TimeoutError):  # the loop has ended, or is stuck
            future = asyncio.run_coroutine_threadsafe(self._take_snapshots(), self._loop)
            try:
                future.result(2 * _SNAPSHOT_S)
            finally:
                future.cancel()

    async def _take_snapshots(self) -> None:
        async def take(process: WorkerProcess) -> None:
            with contextlib.suppress(ChannelError):
                self._update(process, await process.request("metrics", seconds=_SNAPSHOT_S))

        await asyncio.gather(*(take(process) for process in self.processes if process.is_open))


async def _answer(process: WorkerProcess, kind: str, content: dict[str, Any]) -> Answer:
    try:
        return Answer(process.worker, await process.request(kind, content, _BROADCAST_S))
    except ChannelError as error:
        return Answer(process.worker, error=str(error))
