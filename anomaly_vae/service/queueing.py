"""Rows on their way through the scorer's threads: admitted by count, taken in turns, dropped when nobody waits."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import grpc

from anomaly_vae.densities import FloatArray
from anomaly_vae.scores import Part, join
from anomaly_vae.service.faults import Fault
from anomaly_vae.service.metrics import Metrics
from anomaly_vae.tiles import TILE_ROWS

__all__ = ["ScoringQueue"]

# One task of a thread: small enough that a short request is not held up by a long one, and a multiple of the
# networks' tile of rows. What a row scores does not depend on where the cuts are.
_TASK_PAIRS = 16_384

_SHORTEST_RETRY, _LONGEST_RETRY = 0.05, 30.0
_SMOOTHING = 0.1


class ScoringQueue:
    """Scores rows off the event loop.

    A request is cut into short tasks, and has no more of them with the pool than there are threads: so requests take
    turns, and what is left of a cancelled or expired one is never computed.
    """

    def __init__(self, threads: int, limit_rows: int, metrics: Metrics) -> None:
        """Start with nothing queued."""
        self._threads = threads
        self._limit_rows = limit_rows
        self._metrics = metrics
        self._rows = 0
        self._seconds_per_row = 0.0
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="score")

    def check_room(self, num_rows: int) -> None:
        """Refuse rows, before anything is made of them, if too many wait.

        Raises:
            Fault: RESOURCE_EXHAUSTED, with the time after which to come back.
        """
        if self._rows + num_rows > self._limit_rows:
            self._metrics.rejected.labels("queue_full").inc()
            raise Fault(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                f"{self._rows} rows are waiting, at most {self._limit_rows} may; send them again later",
                retry_after=self._retry_after(),
            )

    async def submit(
        self, score: Callable[[FloatArray], Part], rows: FloatArray, num_samples: int, time_remaining: float | None
    ) -> Part:
        """Score checked rows (N, D).

        Args:
            score: What to do with some of the rows.
            rows: All of them.
            num_samples: The most it takes for a row.
            time_remaining: Seconds until nobody waits any more.

        Raises:
            Fault: RESOURCE_EXHAUSTED at once if too many rows wait, DEADLINE_EXCEEDED when the time is up.
        """
        late = Fault(grpc.StatusCode.DEADLINE_EXCEEDED, "the deadline passed before the rows were scored")
        if time_remaining is not None and time_remaining <= 0:
            raise late
        self.check_room(len(rows))
        self._admit(len(rows))
        try:
            async with asyncio.timeout(time_remaining):
                return await self._score(score, rows, num_samples)
        except TimeoutError:
            raise late from None
        finally:
            self._admit(-len(rows))

    def close(self) -> None:
        """Drop what has not begun and wait for what has."""
        self._pool.shutdown(cancel_futures=True)

    def _admit(self, num_rows: int) -> None:
        self._rows += num_rows
        self._metrics.queue_rows.set(self._rows)

    async def _score(self, score: Callable[[FloatArray], Part], rows: FloatArray, num_samples: int) -> Part:
        step = max(_TASK_PAIRS // num_samples // TILE_ROWS, 1) * TILE_ROWS
        tasks = [rows[start : start + step] for start in range(0, len(rows), step)]
        side_by_side = min(self._threads, len(tasks))
        spent: list[float] = []

        def run(task: FloatArray) -> Part:
            start = time.perf_counter()
            scores = score(task)
            spent.append(time.perf_counter() - start)
            self._learn_speed(spent[-1] / len(task))
            return scores

        submitted = time.perf_counter()
        try:
            parts = await self._run_in_turns(tasks, run, side_by_side)
        finally:
            computing = sum(spent) / side_by_side
            waiting = max(time.perf_counter() - submitted - computing, 0.0)
            self._metrics.stage_seconds.labels("queue").observe(waiting)
            self._metrics.stage_seconds.labels("infer").observe(computing)
        self._metrics.batch_rows.observe(len(rows))
        return join(parts)

    async def _run_in_turns(
        self, tasks: list[FloatArray], run: Callable[[FloatArray], Part], side_by_side: int
    ) -> list[Part]:
        loop = asyncio.get_running_loop()
        if len(tasks) == 1:
            return [await loop.run_in_executor(self._pool, run, tasks[0])]
        waiting = iter(enumerate(tasks))
        parts: dict[int, Part] = {}

        async def work() -> None:
            for i, task in waiting:
                parts[i] = await loop.run_in_executor(self._pool, run, task)

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(side_by_side):
                    group.create_task(work())
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from None
        return [parts[i] for i in range(len(tasks))]

    def _learn_speed(self, seconds_per_row: float) -> None:
        self._seconds_per_row += _SMOOTHING * (seconds_per_row - self._seconds_per_row)

    def _retry_after(self) -> float:
        """Seconds until about half of what waits is done."""
        seconds = 0.5 * self._rows * self._seconds_per_row / self._threads
        return min(max(seconds, _SHORTEST_RETRY), _LONGEST_RETRY)
