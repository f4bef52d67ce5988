"""A queue with a model that returns the numbers of its rows, in place of scores."""

from __future__ import annotations

import asyncio
import concurrent.futures
import math
import threading
import time
from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np
import pytest

from anomaly_vae.score_options import ScoreOptions
from anomaly_vae.scores import Flags
from anomaly_vae.service.call_errors import CallError
from anomaly_vae.service.callers import NO_TOKEN, Priority
from anomaly_vae.service.queue.cost_model import CostKey
from anomaly_vae.service.queue.jobs import Job
from anomaly_vae.service.queue.scoring_queue import ScoringQueue
from anomaly_vae.service.served import ExplainOptions
from anomaly_vae.service.telemetry.metrics import Metrics
from tests.support.served import served_model

__all__ = [
    "KEY",
    "OPTIONS",
    "POISON",
    "Echo",
    "Key",
    "check_room",
    "error_of",
    "in_queue",
    "job",
    "rows_from",
    "submit",
    "unblocked",
]

POISON = -1.0
OPTIONS = ScoreOptions(num_samples=16)


@dataclass(frozen=True)
class Key:
    """What the scheduler needs of a batch key: equality, and the cost of a row."""

    num_samples: int = 1024
    work: float = 1.0
    served: SimpleNamespace = field(default_factory=lambda: SimpleNamespace(name="model"), compare=False)

    @property
    def cost(self):
        return CostKey(False, False, self.num_samples, self.work)


KEY = Key()


def job(num_rows, key=KEY, expires=math.inf, first=0, queued_at=0.0, caller=None, priority=Priority.ONLINE):
    """Return a job with the rows ``first``, ``first + 1``, ..., whose answer needs no event loop."""
    return Job(key, rows_from(first, num_rows), expires, concurrent.futures.Future(), queued_at, caller, priority)


@dataclass(eq=False)
class Echo:
    """A served model that returns every row's number as its num_samples; it can be blocked, and fails for poison."""

    name: str = "model"
    version: str = "1"
    go: threading.Event = field(default_factory=threading.Event)
    seconds: float = 0.0
    computed: list = field(default_factory=list)
    begun: threading.Event = field(default_factory=threading.Event)
    explained_as: float = 1.0
    scorer: SimpleNamespace = field(default_factory=lambda: SimpleNamespace(num_samples=16))

    @property
    def key(self):
        return self.name, self.version

    def compute(self, rows, options):
        self.begun.set()
        assert self.go.wait(10)
        time.sleep(self.seconds * len(rows))
        self.computed += rows[:, 0].tolist()
        if (rows == POISON).any():
            raise ValueError("poison")
        numbers = rows[:, 0].astype(np.int64)
        if isinstance(options, ExplainOptions):
            return [[number] * options.top for number in numbers.tolist()]
        return Flags(is_anomaly=numbers % 2 == 1, num_samples=numbers, reason=[None] * len(rows))


def unblocked():
    """Return an :class:`Echo` that computes at once."""
    model = Echo()
    model.go.set()
    return model


def rows_from(first, num_rows):
    return np.arange(first, first + num_rows, dtype=float)[:, None]


def in_queue(scenario, threads=2, limit_rows=1_000, limit_bytes=1_000_000, limit_seconds=math.inf):
    async def run():
        metrics = Metrics(limit_rows, limit_bytes)
        metrics.models.add(("model", "1"), served_model().scorer)
        queue = ScoringQueue(
            threads, limit_rows=limit_rows, limit_bytes=limit_bytes, limit_seconds=limit_seconds, metrics=metrics
        )
        try:
            return await asyncio.wait_for(scenario(queue, metrics.registry.get_sample_value), 20)
        finally:
            await asyncio.to_thread(queue.close)

    return asyncio.run(run())


async def submit(queue, model, rows, expires=math.inf, *, wait_for_room=False, caller=None, identity=NO_TOKEN):
    with queue.reservation(model, OPTIONS, len(rows), rows.nbytes, caller, identity) as reservation:
        if not wait_for_room:
            reservation.take(expires)
        return (await queue.submit(reservation, rows, expires)).result


def check_room(queue, model, num_rows, num_bytes, expires, caller=None):
    with queue.reservation(model, OPTIONS, num_rows, num_bytes, caller) as reservation:
        reservation.take(expires)


async def error_of(awaitable):
    with pytest.raises(CallError) as error:
        await awaitable
    return error.value
